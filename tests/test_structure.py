"""The house keeps its shape: rooms import downwards, a technique has its four files, files stay readable."""

import ast
import importlib
import inspect
import pkgutil
import typing
from pathlib import Path

import pytest
import yaml

import callbacks
from callbacks.technique import Technique

ROOT = Path(__file__).resolve().parents[1]
LEAVES = {"zoo.randomness", "zoo.errors", "zoo.notice", "zoo.redact", "zoo.preprocessing"}


def imported(file: Path) -> set[str]:
    """Modules that a file imports, at its head or within a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize(
    ("room", "forbidden"), [("zoo", ("datamodules", "callbacks")), ("datamodules", ("callbacks", "zoo"))]
)
def test_rooms_import_downwards(room: str, forbidden: tuple[str, ...]) -> None:
    for file in (ROOT / room).rglob("*.py"):
        if (ROOT / "zoo" / "cli") in file.parents:
            continue  # the composition root
        names = {name for name in imported(file) if name.split(".")[0] in forbidden}
        allowed = {name for name in names if any(name == leaf or name.startswith(f"{leaf}.") for leaf in LEAVES)}
        allowed |= {"zoo"} if names - {"zoo"} == allowed - {"zoo"} else set()
        assert names <= allowed, f"{file.relative_to(ROOT)} imports {sorted(names - allowed)}"


def technique_classes() -> dict[type[Technique], Path]:
    """Every concrete technique with the file that defines it."""
    found = {}
    for module in pkgutil.walk_packages(callbacks.__path__, "callbacks."):
        for _, item in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            concrete = issubclass(item, Technique) and not inspect.isabstract(item)
            if concrete and item.__module__ == module.name and item is not Technique:
                found[item] = Path(inspect.getfile(item))
    return found


# The general form of a family of techniques, described in the handbook rather than by a card of its own.
BASES = {"OptimizerSelection"}
TECHNIQUES = {cls.__name__: file for cls, file in technique_classes().items() if cls.__name__ not in BASES}


@pytest.mark.parametrize("name", sorted(TECHNIQUES))
def test_a_technique_has_its_four_files(name: str) -> None:
    file = TECHNIQUES[name]
    kind, stem = file.parent.name, file.stem
    assert (ROOT / "tests" / "callbacks" / kind / f"test_{stem}.py").is_file()
    card = (ROOT / "docs" / "techniques" / f"{stem}.md").read_text()
    for section in ("What it is", "Where it comes from", "How to use it", "Key parameters", "When it helps",
                    "What we measured", "Pitfalls"):  # fmt: skip
        assert f"\n## {section}" in card, f"{stem}.md lacks the section {section}"
    fragment = yaml.safe_load((ROOT / "configs" / "techniques" / kind / f"{stem}.yaml").read_text())
    assert name in str(fragment), f"{stem}.yaml does not name {name}"


def test_a_technique_imports_no_other() -> None:
    """A formula of the same kind may be shared, a technique may not: they meet in a module's slots alone."""
    for cls, file in technique_classes().items():
        for name in imported(file):
            parts = name.split(".")
            if parts[0] == "callbacks" and len(parts) > 2 and parts[1] != "technique":
                assert parts[1] == file.parent.name, f"{cls.__name__} imports {name}, of another kind"
                assert parts[-1] not in TECHNIQUES, f"{cls.__name__} imports the technique {parts[-1]}"


def test_files_hold_one_idea() -> None:
    long = {
        str(file.relative_to(ROOT)): lines
        for room in ("zoo", "datamodules", "callbacks")
        for file in (ROOT / room).rglob("*.py")
        if (lines := len(file.read_text().splitlines())) > 320
    }
    assert not long


def test_constructors_are_the_schema() -> None:
    """Every argument is annotated: an untyped slot would let a configuration build anything, allow-list or not."""
    for package in ("zoo", "datamodules", "callbacks"):
        for info in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if info.name.startswith(("zoo.cli", "zoo.__main__")):
                continue
            for _, item in inspect.getmembers(importlib.import_module(info.name), inspect.isclass):
                if item.__module__ != info.name or "__init__" not in vars(item) or getattr(item, "_is_protocol", False):
                    continue
                for parameter in list(inspect.signature(item.__init__).parameters.values())[1:]:
                    where = f"{info.name}.{item.__name__}({parameter.name})"
                    assert parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL), where
                    assert parameter.annotation is not parameter.empty, f"{where} is not annotated"
                    if issubclass(item, Technique):
                        assert parameter.annotation is not typing.Any, f"{where} takes anything"


def test_recipes_and_fragments_are_read() -> None:
    for file in (ROOT / "configs").rglob("*.yaml"):
        assert isinstance(yaml.safe_load(file.read_text()), dict), file
        assert file.read_text().startswith("# "), f"{file.relative_to(ROOT)} begins with a line that says what it is"
