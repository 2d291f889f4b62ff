"""One class for each data set, found by name: ``from datamodules import FashionMNIST``.

Importing the package reads nothing. The first name that is asked for is looked up in the files of this folder, and
only its own file is imported; a new data set is a new file and nothing else.
"""

import ast
import importlib
from functools import cache
from pathlib import Path
from typing import Any


@cache
def _homes() -> dict[str, str]:
    """Public class name -> the file in this folder that defines it, without running any of them."""
    homes = {}
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        for statement in ast.parse(path.read_bytes()).body:
            if isinstance(statement, ast.ClassDef) and not statement.name.startswith("_"):
                homes[statement.name] = path.stem
    return homes


def __getattr__(name: str) -> Any:
    if name.startswith("_") or name not in _homes():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_homes()[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_homes())
