"""Every recipe by import: ``from zoo.recipes.cnn import fashion_mnist``; a module for each family, made from the YAML.

What is imported is a ``zoo.cli.recipe.Recipe``, a new one each time; nothing is built, and torch not imported, before
its model, data or trainer is asked for.
"""

import sys
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING

from zoo.cli.compose import did_you_mean, names

if TYPE_CHECKING:
    from zoo.cli.recipe import Recipe

_NO_RECIPES = ("techniques", "trainer", "sweeps")


def _recipe(family: str, known: list[str], name: str) -> "Recipe":
    if name not in known:
        raise AttributeError(f"no recipe {family}/{name}{did_you_mean(name, known)} (`zoo list` shows all recipes)")
    from zoo.cli.recipe import Recipe

    return Recipe(f"{family}/{name}")


def _register() -> list[str]:
    by_family: dict[str, list[str]] = {}
    for entry in names():
        family, _, name = entry.partition("/")
        if family not in _NO_RECIPES:
            by_family.setdefault(family, []).append(name)
    for family, known in by_family.items():
        module = ModuleType(f"{__name__}.{family}", f"Recipes of the family {family}: {', '.join(known)}.")
        module.__getattr__ = partial(_recipe, family, known)  # type: ignore[method-assign]
        module.__dir__ = partial(sorted, known)  # type: ignore[method-assign]
        module.__all__ = known  # type: ignore[attr-defined]
        sys.modules[module.__name__] = module
        globals()[family] = module
    return sorted(by_family)


__all__ = _register()
