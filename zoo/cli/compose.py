"""Recipes by name and how several of them become one configuration. Reads YAML only; torch is never imported."""

import difflib
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from zoo.errors import ZooError

Config = dict[str, Any]

# libyaml reads the same documents about ten times faster where it is built in.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def recipes_root() -> Path:
    """Where the recipes are: inside the installed package, or ``configs/`` of a checkout."""
    return _root("_recipes", "configs")


def cards_root() -> Path:
    """Where the cards of the techniques are: inside the installed package, or ``docs/techniques/`` of a checkout."""
    return _root("_cards", "docs/techniques")


@cache
def _root(installed: str, checkout: str) -> Path:
    package = Path(__file__).resolve().parents[1]
    return package / installed if (package / installed).is_dir() else package.parent / checkout


def names() -> list[str]:
    """All recipes and fragments, as ``-c`` takes them."""
    root = recipes_root()
    return sorted(str(path.relative_to(root).with_suffix("")) for path in root.rglob("*.yaml"))


def find(name: str) -> Path:
    """The file of a recipe, a fragment, a run folder or a path; ZooError with near names when there is none."""
    path = Path(name)
    if path.is_dir() and (path / "config.yaml").is_file():
        return path / "config.yaml"
    if path.is_file():
        return path
    shipped = recipes_root() / f"{name.removesuffix('.yaml')}.yaml"
    if shipped.is_file():
        return shipped
    raise ZooError(f"no recipe, fragment or file {name!r}{did_you_mean(name, names())} (`zoo list` shows all recipes)")


def did_you_mean(word: str, known: list[str]) -> str:
    """``; did you mean a or b?`` for the nearest known words, or nothing."""
    last = {entry.rsplit("/", 1)[-1]: entry for entry in known}
    near = difflib.get_close_matches(word, known, 2, 0.6) or [
        last[match] for match in difflib.get_close_matches(word.rsplit("/", 1)[-1], list(last), 2, 0.6)
    ]
    return f"; did you mean {' or '.join(near)}?" if near else ""


def read(path: Path) -> Config:
    """One YAML file as a dictionary."""
    try:
        config = yaml.load(path.read_text(), _Loader)
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        line = f", line {place.line + 1}" if place else ""
        raise ZooError(f"{path}{line}: not valid YAML: {getattr(error, 'problem', error)}") from None
    if not isinstance(config, dict):
        raise ZooError(f"{path}: a recipe is a mapping with keys such as model, data and trainer")
    return config


def compose(sources: list[str]) -> Config:
    """Merge recipes and fragments in order; the later one wins."""
    config: Config = {}
    for source in sources:
        config = merge(config, read(find(source)))
    return config


def merge(base: Config, over: Config) -> Config:
    """Lay ``over`` on ``base``: mappings are merged, lists and values replaced, ``key+`` appends to a list.

    A mapping that names another ``class_path`` replaces the old one whole: a learning rate that was chosen for one
    optimizer is no default for the next.
    """
    merged = dict(base)
    for key, value in over.items():
        if key.endswith("+"):
            old = merged.get(key[:-1]) or []
            merged[key[:-1]] = [*old, *(value if isinstance(value, list) else [value])]
        elif isinstance(value, dict) and isinstance(merged.get(key), dict) and not _other_class(merged[key], value):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = merge({}, value) if isinstance(value, dict) else value
    return merged


def _other_class(base: Config, over: Config) -> bool:
    if "class_path" not in over:
        return False
    # A short name and a full path may mean the same class.
    return str(base.get("class_path")).rsplit(".", 1)[-1] != str(over["class_path"]).rsplit(".", 1)[-1]
