"""``zoo pack``: a run becomes a weights file and an entry of the index."""

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule

from zoo.cli import compose
from zoo.cli.arguments import run_folder
from zoo.cli.measure import fingerprint, measure
from zoo.cli.plumbing import import_all_pieces
from zoo.errors import ZooError
from zoo.from_run import build
from zoo.gan import GAN
from zoo.module import SupervisedModule, ZooModule
from zoo.pretrained import build_model, fill, stored_from_run
from zoo.weights import file as weights_file
from zoo.weights import index
from zoo.weights.file import Stored
from zoo.weights.index import Entry, Measured
from zoo.weights.portable import portable

_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
# Of metrics that count samples a share, which one of a few hundred may change on another machine; else of the value.
_SHARES, _OF_SHARES = ("accuracy", "f1", "exact_match", "map"), 0.003
_RELATIVE, _RELATIVE_OF_GAMES = 0.005, 0.05
_TRAINED = ("seconds", "processor", "cpus", "accelerator", "git", "packages")
_DISTANCES = ("frechet", "kernel", "class_kl")  # of a game's metrics those of which less is better


def pack(argv: list[str]) -> None:
    """Write the best weights of a run, rounded, as a file that zoo.load reads, and measure what they still reach.

    Of a game the generator alone is kept. The recipe NAME has to be what the run was trained by.
    """
    parser = argparse.ArgumentParser(prog="zoo pack", description=pack.__doc__, allow_abbrev=False)
    parser.add_argument("run", help="folder of a run")
    parser.add_argument("name", help="of the recipe, such as cnn/digits")
    parser.add_argument("--dtype", choices=list(_DTYPES), default="float16", help="of the parameters in the file")
    parser.add_argument("--metric", help="by which it is judged; by default the one that chose the best epoch")
    parser.add_argument("--split", choices=["test", "val"], default="test")
    parser.add_argument("--tolerance", type=float, help="in the metric's unit; how far other machines may be off")
    parser.add_argument("--folder", type=Path, default=index.FOLDER, help="of the index; by default the package's own")
    arguments = parser.parse_args(argv)
    entry = pack_run(
        run_folder(arguments.run), arguments.name, arguments.dtype, arguments.metric, arguments.split,
        arguments.tolerance, arguments.folder,
    )  # fmt: skip
    lost = entry.measured.value - entry.measured.unrounded
    print(f"{arguments.folder / entry.file}: {entry.parameters:,} parameters, {entry.size / 1e6:.2f} MB, {entry.dtype}")
    print(f"{entry.measured}; rounding to {entry.dtype} changed it by {lost:+.2g}")


def pack_run(
    run: Path,
    name: str,
    dtype: str = "float16",
    metric: str | None = None,
    split: Literal["test", "val"] = "test",
    tolerance: float | None = None,
    folder: Path = index.FOLDER,
) -> Entry:
    """Write file and entry; see ``pack``.

    Raises:
        ZooError: the run's configuration is not the recipe's, no such metric, or rounding costs more than the
            tolerance.
    """
    import_all_pieces([])
    whole = stored_from_run(run)
    config = portable(whole.config)
    recipe = compose.read(compose.find(name))
    _require_same(recipe, config, name)
    module = build_model(config, str(run))
    fill(module, whole, str(run))
    data = build(config.get("data"), "data", LightningDataModule, str(run))
    data.prepare_data()
    omitted = ("discriminator",) if isinstance(module, GAN) else ()
    rounded = {
        key: tensor
        for key, tensor in weights_file.rounded(module, _DTYPES[dtype]).items()
        if key.split(".")[0] not in omitted
    }
    stored = Stored(rounded, config, whole.preprocessing, omitted, fingerprint(data))
    metric = metric or _metric_of(module)
    unrounded, value = (_one(measure(s, name, split), metric) for s in (stored._replace(weights=whole.weights), stored))
    tolerance = _tolerance(metric, value, module) if tolerance is None else tolerance
    if not abs(value - unrounded) <= tolerance:
        raise ZooError(
            f"{name}: {dtype} costs too much: {split} {metric} is {value:.6g} instead of {unrounded:.6g}; use --dtype"
            " float32"
        )
    measured = Measured(metric, split, value, tolerance, _mode_of(module, metric), unrounded)
    path = folder / f"{name.replace('/', '_')}.safetensors"
    weights_file.write(path, rounded, config, stored.build_preprocessing(), omitted, stored.fingerprint)
    content = path.read_bytes()
    entry = Entry(
        name=name,
        file=path.name,
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        parameters=sum(p.numel() for key, p in module.named_parameters() if key in rounded),
        dtype=dtype,
        seed=int(config.get("seed_everything") or 0),
        recipe_revision=index.recipe_revision(recipe),
        measured=measured,
        trained=_trained(run),
    )
    index.write_entry(entry, folder)
    return entry


def _require_same(recipe: Any, config: Any, name: str, place: str = "") -> None:
    """Raise ZooError where the run says something else than the recipe; what only the run says are defaults."""
    if isinstance(recipe, dict) and isinstance(config, dict):
        for key, value in recipe.items():
            _require_same(value, config.get(key), name, f"{place}.{key}" if place else key)
    elif isinstance(recipe, list) and isinstance(config, list) and len(recipe) == len(config):
        for number, (ours, theirs) in enumerate(zip(recipe, config)):
            _require_same(ours, theirs, name, f"{place}[{number}]")
    elif recipe != config and not (
        place.endswith("root") or place.startswith(("trainer.accelerator", "trainer.logger"))
    ):
        raise ZooError(f"the run is not of the recipe {name}: {place} is {config!r} there, {recipe!r} in the recipe")


def _metric_of(module: ZooModule) -> str:
    if isinstance(module, SupervisedModule):
        return module.task.monitor
    raise ZooError("a game has no metric of its own: name one with --metric, as `zoo test RUN` prints them")


def _mode_of(module: ZooModule, metric: str) -> Literal["min", "max"]:
    if isinstance(module, SupervisedModule) and metric == module.task.monitor:
        return module.task.mode
    return "min" if metric.startswith((*_DISTANCES, "loss", "mse", "mae", "rmse", "perplexity", "bits")) else "max"


def _tolerance(metric: str, value: float, module: ZooModule) -> float:
    if metric.endswith(_SHARES):
        return _OF_SHARES
    return float(f"{abs(value) * (_RELATIVE_OF_GAMES if isinstance(module, GAN) else _RELATIVE):.2g}")


def _one(found: dict[str, float], metric: str) -> float:
    if metric not in found:
        raise ZooError(f"no metric {metric!r}; there are {', '.join(sorted(found))}")
    return found[metric]


def _trained(run: Path) -> dict[str, Any]:
    """Where and by what the run was made, for the card."""
    file = run / "env.json"
    known = json.loads(file.read_text()) if file.is_file() else {}
    return {
        key: known[key] for key in ("seconds", "processor", "cpus", "git", "accelerator", "packages") if key in known
    }
