"""From what a person has (a photo, a row, a text) to what a network takes, as plain data beside its weights. A leaf."""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor

from zoo.errors import ZooError

_HOMES = ("zoo", "datamodules")


@dataclass(frozen=True)
class Preprocessing(ABC):
    """Base: a frozen dataclass of plain data and tensors, which say all that was learned from the training split.

    So it can be stored, and built again where the training data are not.

    Attributes:
        outputs: what the network's outputs are called: classes, or targets; empty where they have no names.
    """

    outputs: tuple[str, ...]

    @abstractmethod
    def __call__(self, raw: Any) -> tuple[Tensor, Tensor | None]:
        """Inputs (B, ...) as the network takes them, and the lengths (B,) of padded ones; one sample is a batch of one.

        Raises:
            ZooError: says what is accepted, and what was given.
        """


def describe(preprocessing: Preprocessing) -> dict[str, Any]:
    """``{"class_path", "init_args"}`` of plain data and tensors, as a configuration names a class."""
    cls = type(preprocessing)
    arguments = {field.name: getattr(preprocessing, field.name) for field in fields(preprocessing)}
    return {"class_path": f"{cls.__module__}.{cls.__qualname__}", "init_args": arguments}


def rebuild(described: dict[str, Any], trusted: Sequence[str] = ()) -> Preprocessing:
    """What ``describe`` has described. Only classes of the project, or of a trusted package, are imported.

    Raises:
        ZooError: another class, or arguments that are not its own.
    """
    path = str(described.get("class_path"))
    module, _, name = path.rpartition(".")
    if module.split(".")[0] not in (*_HOMES, *trusted):
        raise ZooError(f"the preprocessing {path!r} is refused: it is of no package that is trusted")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        raise ZooError(f"there is no preprocessing {path!r} here; is this version older than the weights?") from None
    if not (isinstance(cls, type) and issubclass(cls, Preprocessing)):
        raise ZooError(f"{path!r} is refused: it is no preprocessing")
    try:
        # JSON has lists alone.
        arguments = {key: _tuples(value) for key, value in described["init_args"].items()}
        built: Preprocessing = cls(**arguments)
    except (AttributeError, KeyError, TypeError) as error:
        raise ZooError(f"the preprocessing {path!r} cannot be built from what was stored: {error}") from None
    return built


def _tuples(value: Any) -> Any:
    return tuple(_tuples(entry) for entry in value) if isinstance(value, list) else value
