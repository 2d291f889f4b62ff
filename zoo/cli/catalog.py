"""``zoo list`` and ``zoo show``: what there is, read from recipes, cards and sources without importing them."""

import re
import shutil
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from zoo.cli import facts, sources, support
from zoo.cli.arguments import take
from zoo.cli.compose import cards_root, did_you_mean, find, names, read, recipes_root
from zoo.cli.sources import TECHNIQUE
from zoo.errors import ZooError
from zoo.weights import index

KINDS = ("recipes", "pretrained", "models", "data", "techniques")
_FRAGMENTS = ("techniques/", "trainer/", "sweeps/")
_CLASS = re.compile(r'^class (\w+)(?:\(([^)]*)\))?:\n    (?:r?""")(.+?)(?:"""|\n)', re.MULTILINE)


@dataclass
class Entry:
    """One line of a listing: how it is named, what it is, what it reached."""

    name: str
    summary: str
    reached: str = ""


def list_(argv: list[str]) -> None:
    """Print recipes, models, data sets and techniques, or one of these; or the techniques that a model supports."""
    if "--help" in argv or "-h" in argv:
        print(f"usage: zoo list [{'|'.join(KINDS)}] [--for FAMILY|MODEL|TASK]")
        return
    wanted, kinds = take(argv, ("--for",))
    for kind in kinds:
        if kind not in KINDS:
            raise ZooError(f"zoo list knows no {kind!r}{did_you_mean(kind, list(KINDS))} ({', '.join(KINDS)})")
    if wanted:
        if kinds not in ([], ["techniques"]):
            raise ZooError(f"--for chooses among techniques: zoo list techniques --for {wanted[0]}")
        print(f"techniques for {', '.join(wanted)}")
        _print_entries(list(_techniques_for(wanted)))
        print()
    for kind in [] if wanted else kinds or KINDS:
        print(f"{kind}")
        _print_entries(list(_ENTRIES[kind]()))
        print()
    print("`zoo show NAME` tells more; `zoo fit -c RECIPE [-c techniques/KIND/NAME]` trains")


def show_(argv: list[str]) -> None:
    """Print a recipe's YAML and what it reached, or a technique's card and fragment."""
    if not argv or argv[0] in ("--help", "-h"):
        print(
            "usage: zoo show NAME      a recipe such as cnn/digits, or a technique such as techniques/init/orthogonal"
        )
        return
    name = argv[0].removesuffix(".yaml")
    stem = name.rsplit("/", 1)[-1]
    card = cards_root() / f"{stem}.md"
    known = [*names(), *(path.stem for path in cards_root().glob("*.md"))]
    fragment = next((entry for entry in names() if entry == name or entry.endswith(f"/{name}")), None)
    if fragment is None and not card.is_file():
        raise ZooError(f"no recipe or technique {name!r}{did_you_mean(name, known)} (`zoo list` shows all)")
    is_technique = fragment is None or fragment.startswith("techniques/")
    if fragment is not None and fragment.startswith("techniques/"):
        _print_technique(fragment)
    if card.is_file() and is_technique:
        print(card.read_text().rstrip())
        print()
    if fragment is not None and not fragment.startswith(_FRAGMENTS):
        _print_recipe(fragment)
    if fragment is not None:
        print(f"--- {fragment}.yaml")
        print(find(fragment).read_text().rstrip())
        print()
        print(_command(fragment))


def _command(name: str) -> str:
    """How a recipe or a fragment is used; a technique's fragment says in its first line with which recipe."""
    if name.startswith("techniques/"):
        return _comments(find(name))[0]
    return f"zoo fit -c {'cnn/digits -c ' if name.startswith(_FRAGMENTS) else ''}{name}"


def _classes_of(fragment: str) -> list[str]:
    """The techniques that a fragment plugs in, by class name; what they are built from is not among them."""
    paths = re.findall(r"class_path:\s*callbacks\.([\w.]+)", find(fragment).read_text())
    return [name for path in paths if TECHNIQUE in sources.techniques().lineage(name := path.rsplit(".", 1)[-1])]


def _techniques_for(wanted: list[str]) -> Iterator[Entry]:
    """Techniques that support all of the families, models and tasks that were named."""
    asked = support.filters(wanted)
    for entry in techniques():
        if all(support.fits(name, asked) for name in _classes_of(entry.name)):
            yield entry


def _print_technique(fragment: str) -> None:
    """What a technique is, touches, needs and does not get on with, before its card says so at length."""
    summary = next((entry.summary for entry in techniques() if entry.name == fragment), "")
    for name in _classes_of(fragment):
        found = facts.facts(name)
        touched = [*found.shared, *(f"{slot} (for itself)" for slot in found.claimed)]
        models = [cls for classes in support.families().values() for cls in classes]
        rivals = facts.rivals(found)
        lines = [
            Entry("technique", f"{name}: {summary}"),
            Entry("slots", ", ".join(touched) or "none"),
            Entry("hooks", ", ".join(found.hooks) or "none"),
            Entry("needs", facts.needs(found)),
            Entry("supports", ", ".join(model for model in models if support.supports_family(found, model)) or "none"),
            *([Entry("not with", ", ".join(rivals))] if rivals else []),
            Entry("fragment", f"configs/{fragment}.yaml"),
            Entry("command", _command(fragment)),
        ]
        _print_entries(lines)
        print()


def _print_recipe(name: str) -> None:
    """What a recipe is made of, what it needs and what it reached."""
    config = read(find(name))
    entry = next((entry for entry in recipes() if entry.name == name), Entry(name, ""))
    lines = [Entry("recipe", entry.summary)] if entry.summary else []
    for section, listing in (("model", models), ("data", data)):
        chosen = str((config.get(section) or {}).get("class_path", "")).rsplit(".", 1)[-1]
        lines += [Entry(section, f"{e.name}: {e.summary}") for e in listing() if e.name == chosen]
    for section in ("optimizer", "schedule", "init"):
        if isinstance(config.get(section), dict):
            settings = ", ".join(f"{k} {v}" for k, v in (config[section].get("init_args") or {}).items())
            lines.append(Entry(section, f"{config[section]['class_path'].rsplit('.', 1)[-1]} ({settings})"))
    lines.append(Entry("needs", _needs(str((config.get("data") or {}).get("class_path", "")))))
    weights = index.entries().get(name)
    if weights is not None:
        lines.append(Entry("pretrained", f'zoo.load("{name}"): {_about(weights)}'))
    lines.append(Entry("reached", entry.reached or "not measured yet: python benchmarks/recipes.py " + name))
    _print_entries(lines)
    print()


def _needs(class_path: str) -> str:
    """Whether a data set of the project has to be downloaded, as its source says."""
    file = Path(__file__).resolve().parents[2] / Path(*class_path.split(".")[:-1]).with_suffix(".py")
    source = file.read_text() if file.is_file() else ""
    if "Downloaded" in source or "IdxImages" in source:
        return "its files under --data.root or ZOO_DATA, or a network to download them once"
    return "your files: --data.root PATH" if "root: str," in source else "nothing to download"


def recipes() -> Iterator[Entry]:
    """All recipes: a family and a data set each, with the first line of its comment."""
    for name in names():
        if not name.startswith(_FRAGMENTS):
            comments = _comments(recipes_root() / f"{name}.yaml")
            reached = next((c.removeprefix("reached: ") for c in comments if c.startswith("reached: ")), "")
            yield Entry(name, comments[0] if comments else "", reached)


def pretrained() -> Iterator[Entry]:
    """All recipes that weights come with, by what these reach."""
    for name, weights in index.entries().items():
        yield Entry(name, _about(weights))


def _about(weights: index.Entry) -> str:
    size = f"{weights.size / 1e6:.1f} MB" if weights.size > 1e6 else f"{weights.size / 1e3:.0f} kB"
    return f"{weights.measured}, {weights.parameters:,} parameters, {weights.dtype}, {size}"


def models() -> Iterator[Entry]:
    """All families, by class name."""
    root = Path(__file__).resolve().parents[1]
    yield from _classes(root, ("SupervisedModule", "ZooModule"))


def data() -> Iterator[Entry]:
    """All data sets, by class name."""
    yield from _classes(Path(__file__).resolve().parents[2] / "datamodules", ("ZooDataModule",))


def techniques() -> Iterator[Entry]:
    """All techniques that a fragment plugs in, with the summary of their card."""
    for name in names():
        if name.startswith("techniques/"):
            card = cards_root() / f"{name.rsplit('/', 1)[-1]}.md"
            lines = card.read_text().splitlines() if card.is_file() else []
            summary = next((line.strip("*_ ") for line in lines if line.startswith(("*", "_"))), "")
            yield Entry(name, summary)


_ENTRIES = {"recipes": recipes, "pretrained": pretrained, "models": models, "data": data, "techniques": techniques}


def _comments(path: Path) -> list[str]:
    """The comment lines at the head of a YAML file."""
    lines = []
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# ").rstrip())
    return lines


def _classes(folder: Path, roots: tuple[str, ...]) -> Iterator[Entry]:
    """Classes below ``roots`` in the files of a folder that no other class of the folder builds on."""
    found = {
        name: (bases or "", summary, file)
        for file in sorted(folder.glob("*.py"))
        for name, bases, summary in _CLASS.findall(file.read_text())
    }

    def descends(name: str) -> bool:
        bases = [base.strip() for base in found[name][0].split(",")]
        return any(base in roots or (base in found and descends(base)) for base in bases)

    parents = {base.strip() for bases, _, _ in found.values() for base in bases.split(",")}
    for name, (_, summary, _) in sorted(found.items()):
        if name not in parents and name not in roots and descends(name):
            yield Entry(name, summary)


def _print_entries(entries: list[Entry]) -> None:
    width = max((len(entry.name) for entry in entries), default=0) + 2
    room = max(shutil.get_terminal_size((110, 24)).columns - width - 2, 40)
    for entry in entries:
        lines = textwrap.wrap(entry.summary, room) or [""]
        if entry.reached:
            lines += textwrap.wrap(entry.reached, room)
        print(f"  {entry.name:<{width}}{lines[0]}")
        for line in lines[1:]:
            print(f"  {'':<{width}}{line}")
