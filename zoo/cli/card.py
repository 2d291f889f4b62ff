"""``zoo card``: a model card from what a run or the index knows, with metadata as the Hugging Face Hub reads them."""

import argparse
import inspect
import json
import re
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from zoo.cli import catalog
from zoo.cli.compose import find, names
from zoo.cli.trained import network
from zoo.errors import ZooError
from zoo.export.flops import flops
from zoo.gan import GAN
from zoo.module import SupervisedModule, ZooModule
from zoo.pretrained import Pretrained
from zoo.redact import redact
from zoo.task import Classification, Forecasting, LanguageModeling, Regression
from zoo.weights.portable import portable

_LICENCE = re.compile(r"\(([^()]*(?:CC |MIT|public domain|licence)[^()]*)\)")
_SHIPPED = "lightning-zoo"
_MACHINE = {
    "seconds": "seconds of training", "platform": "system", "processor": "processor", "cpus": "processors",
    "accelerator": "accelerator", "git": "revision", "python": "Python",
}  # fmt: skip


def card(argv: list[str]) -> None:
    """Write the model card of a run or of packed weights: how it was made, what it reaches, costs and needs."""
    parser = argparse.ArgumentParser(prog="zoo card", description=card.__doc__, allow_abbrev=False)
    parser.add_argument("source", metavar="RUN|NAME", help="folder of a run, or a name of `zoo list pretrained`")
    parser.add_argument("--out", type=Path, help="file, such as README.md; by default it is printed")
    arguments = parser.parse_args(argv)
    text = model_card(network(arguments.source), Path(arguments.source))
    if arguments.out is None:
        print(text, end="")
        return
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(text)
    print(f"card in {arguments.out}")


def model_card(loaded: Pretrained, source: Path, load_from: str | None = None) -> str:
    """The card as Markdown with a YAML header.

    Args:
        loaded: the network.
        source: the folder of its run, where there is one.
        load_from: what ``zoo.load`` takes; by default the name of the weights or the folder.
    """
    config = loaded.config
    title = str((loaded.entry.name if loaded.entry else config.get("recipe")) or type(loaded.module).__name__)
    measured = _measured(loaded, source)
    header = yaml.safe_dump(_header(loaded, title, measured), sort_keys=False, allow_unicode=True)
    recipe = title if title in names() else None
    sections = {
        "How it was made": _making(config, source, recipe),
        "What it reaches": _reaching(loaded, measured, recipe),
        "Data": _data(config),
        "Size and cost": _size(loaded.module),
        "Where it was trained": _machine(loaded, source),
        "Limits": _limits(loaded, measured),
        "How to load it": _loading(loaded, load_from or (loaded.entry.name if loaded.entry else str(source))),
    }
    summary = _summary(type(loaded.module))
    body = "\n\n".join(f"## {name}\n{text}" for name, text in sections.items() if text)
    return f"---\n{header}---\n\n# {title}\n\n{summary}\n\n{body}\n"


# Facts ----------------------------------------------------------------------------------------------------------------


def _header(loaded: Pretrained, title: str, measured: dict[str, float]) -> dict[str, Any]:
    data, kind = _data_name(loaded.config), _pipeline(loaded)
    results = {
        "name": title,
        "results": [
            {
                "task": {"type": kind or "other"},
                "dataset": {"name": data, "type": data.lower(), "split": name.split("/")[0]},
                "metrics": [{"type": name.split("/")[1], "name": name.replace("/", " "), "value": value}],
            }
            for name, value in measured.items()
        ],
    }
    header: dict[str, Any] = {
        "license": "mit",
        "library_name": _SHIPPED,
        "tags": [_SHIPPED, "pytorch", type(loaded.module).__name__],
    }
    header |= {"pipeline_tag": kind} if kind else {}
    if measured:
        header |= {"metrics": sorted({name.split("/")[1] for name in measured}), "model-index": [results]}
    return header


def _pipeline(loaded: Pretrained) -> str | None:
    """The Hub's word for what the network does."""
    module = loaded.module
    if isinstance(module, GAN):
        return "unconditional-image-generation" if len(module.generator.sample_shape) == 3 else None
    assert isinstance(module, SupervisedModule)
    if isinstance(module.task, LanguageModeling):
        return "text-generation"
    if isinstance(module.task, Forecasting):
        return "time-series-forecasting"
    images = type(loaded.preprocessing).__name__ == "RawImages"
    if isinstance(module.task, Classification):
        return "image-classification" if images else "tabular-classification" if "vectors" in module.takes else None
    return "tabular-regression" if isinstance(module.task, Regression) and "vectors" in module.takes else None


def _measured(loaded: Pretrained, source: Path) -> dict[str, float]:
    """``split/metric`` -> value: of the index, or of what `zoo test` and `zoo validate` left in the run."""
    if loaded.entry is not None:
        found = loaded.entry.measured
        return {f"{found.split}/{found.name}": found.value}
    values: dict[str, float] = {}
    for stage in ("validate", "test"):
        file = source / f"{stage}.json"
        if source.is_dir() and file.is_file():
            values |= json.loads(file.read_text())
    return {name: value for name, value in sorted(values.items()) if not name.endswith("/loss")}


def _data_class(config: dict[str, Any]) -> type | None:
    path = str((config.get("data") or {}).get("class_path", ""))
    module, _, name = path.rpartition(".")
    if not module.startswith("datamodules."):
        return None
    found = getattr(import_module(module), name, None)
    return found if inspect.isclass(found) else None


def _data_name(config: dict[str, Any]) -> str:
    return str((config.get("data") or {}).get("class_path", "unknown data")).rsplit(".", 1)[-1]


def _summary(cls: type) -> str:
    return (inspect.getdoc(cls) or "").split("\n")[0]


def source_of(data: type) -> tuple[str, str]:
    """Where a data set comes from and its licence, as its docstring or that of a base says; empty where neither does.

    >>> from datamodules.digits import Digits
    >>> source_of(Digits)[1]
    'CC BY 4.0'
    """
    for cls in data.__mro__:
        for paragraph in (cls.__doc__ or "").split("\n\n"):
            text = " ".join(paragraph.split())
            if text.startswith("Source:"):
                licence = _LICENCE.search(text)
                return text.removeprefix("Source: "), licence[1].removeprefix("UCI, ") if licence else ""
    return "", ""


# Sections -------------------------------------------------------------------------------------------------------------


def _making(config: dict[str, Any], source: Path, recipe: str | None) -> str:
    seed = config.get("seed_everything", 0)
    command = f"zoo fit -c {recipe} --seed_everything={seed}" if recipe else ""
    precision = (config.get("trainer") or {}).get("precision")  # which a recipe leaves to the machine
    if command and precision:
        command += f" --trainer.precision={precision}"
    if source.is_dir() and (source / "env.json").is_file():
        command = " ".join(redact(json.loads((source / "env.json").read_text())["command"]))
    parts = [f"```bash\n{command}\n```"] if command else []
    if recipe:
        shown = "\n".join(line for line in find(recipe).read_text().splitlines() if not line.startswith("#"))
    else:
        kept = {k: v for k, v in portable(config).items() if k in ("model", "data", "optimizer", "schedule", "init")}
        shown = yaml.safe_dump({k: v for k, v in kept.items() if v}, sort_keys=False).rstrip()
    return "\n\n".join(
        [*parts, f"Seed {seed}. The configuration{f' `{recipe}`' if recipe else ''}:", f"```yaml\n{shown}\n```"]
    )


def _reaching(loaded: Pretrained, measured: dict[str, float], recipe: str | None) -> str:
    rows = [f"| {name.replace('/', ' ')} | {value:.6g} |" for name, value in measured.items()]
    text = "\n".join(["| metric | these weights |", "|---|---|", *rows]) if rows else (
        "These weights were not measured yet: `zoo test RUN`."
    )  # fmt: skip
    entry = loaded.entry
    if entry is not None:
        text += f"\n\n`zoo evaluate {entry.name}` measures it again; it may differ by {entry.measured.tolerance:g}."
    reached = next((e.reached for e in catalog.recipes() if e.name == recipe), "")
    return text + (f"\n\nThe recipe over seeds, mean ± standard deviation: {reached}." if reached else "")


def _data(config: dict[str, Any]) -> str:
    data = _data_class(config)
    if data is None:
        return f"`{_data_name(config)}`, which is not of this project; ask its owner for source and licence."
    source, licence = source_of(data)
    parts = [f"`{data.__name__}`: {_summary(data)}", source and f"Source: {source}"]
    return "\n\n".join([p for p in parts if p] + [f"Licence: {licence or 'not known; yours, if the files are yours'}."])


def _size(module: ZooModule) -> str:
    network = module.generator if isinstance(module, GAN) else module
    count = sum(parameter.numel() for parameter in network.parameters())
    what = " of the generator" if isinstance(module, GAN) else ""
    operations, steps = flops(module)
    return (
        f"- {count:,} parameters{what}\n"
        f"- {operations:,} floating-point operations for one sample{f' of {steps} steps' if steps else ''}"
        " (matrix products and convolutions; a product and its sum are two)"
    )


def _machine(loaded: Pretrained, source: Path) -> str:
    known: dict[str, Any] = {}
    if loaded.entry is not None:
        known = loaded.entry.trained
    elif source.is_dir() and (source / "env.json").is_file():
        known = json.loads((source / "env.json").read_text())
    lines = [f"- {name}: {known[key]}" for key, name in _MACHINE.items() if known.get(key)]
    packages = {name: number for name, number in (known.get("packages") or {}).items() if number}
    lines += [f"- packages: {', '.join(f'{name} {number}' for name, number in packages.items())}"] if packages else []
    return "\n".join(lines)


def _limits(loaded: Pretrained, measured: dict[str, float]) -> str:
    lines = [f"- Measured on {_data_name(loaded.config)} alone; of data from elsewhere nothing is known."]
    if loaded.outputs and not isinstance(loaded.module, GAN):
        few = ", ".join(loaded.outputs[:20]) + (" and others" if len(loaded.outputs) > 20 else "")
        lines.append(f"- It knows {few}, and answers with one of them whatever it is shown.")
    error = next((value for name, value in measured.items() if name == "test/calibration_error"), None)
    if error is not None:
        lines.append(f"- Its probabilities are off by {error:.3f} on average (expected calibration error).")
    if isinstance(loaded.module, GAN):
        lines.append("- Samples may repeat training images; no one has looked for such.")
    return "\n".join(lines)


def _loading(loaded: Pretrained, load_from: str) -> str:
    use = "model.predict(raw)"
    if isinstance(loaded.module, GAN):
        use = "model.sample(16)"
    elif hasattr(loaded.module, "generate"):
        use = 'model.generate("Once", steps=200)'
    code = f"import zoo\n\nmodel = zoo.load({load_from!r})\n{use}"
    return f"```python\n{code}\n```\n\n`pip install {_SHIPPED}=={_version()}`"


def _version() -> str:
    try:
        return version(_SHIPPED)
    except Exception as error:
        raise ZooError(f"{_SHIPPED} is not installed: {error}") from error
