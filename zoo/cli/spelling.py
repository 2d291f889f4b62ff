"""What an option takes, in words: its type, its choices, its classes, and the nearest to what was typed."""

import difflib
import inspect
import sys
from collections.abc import Iterable, Iterator
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin


def near(word: str, known: Iterable[str]) -> list[str]:
    """The known word, or two that are about as near, that ``word`` was probably meant to be."""
    lower = {entry.lower(): entry for entry in known}
    if word.lower() in lower:
        return [lower[word.lower()]]
    found = difflib.get_close_matches(word.lower(), lower, 2, 0.65)
    ratios = [difflib.SequenceMatcher(None, entry, word.lower()).ratio() for entry in found]
    return [lower[entry] for entry, ratio in zip(found, ratios) if ratio > ratios[0] - 0.05]


def meant(names: Iterable[str]) -> str:
    """``; did you mean a or b?``, or nothing."""
    shown = " or ".join(names)
    return f"; did you mean {shown}?" if shown else ""


def spell(annotation: Any) -> str:
    """A type in words.

    >>> spell(list[int] | Literal["full"] | None)
    "list of int or 'full' or null"
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        choices = choices_in(annotation)
        others = [argument for argument in arguments if get_origin(argument) is not Literal]
        spelled = [spell(argument) for argument in others if argument is not NoneType]
        spelled += [_spell_choices(choices)] if choices else []
        return " or ".join([*spelled, "null"] if NoneType in arguments else spelled)
    if origin is Literal:
        return _spell_choices(arguments)
    if origin is tuple and Ellipsis not in arguments:
        return f"[{', '.join(spell(argument) for argument in arguments)}]"
    if origin is dict:
        return f"mapping of {spell(arguments[0])} to {spell(arguments[1])}"
    if origin is not None and arguments:
        return f"list of {spell(arguments[0])}"
    names = {NoneType: "null", bool: "true or false"}
    return names.get(annotation) or str(getattr(annotation, "__name__", annotation))


def _spell_choices(choices: Iterable[Any]) -> str:
    names = [*dict.fromkeys(str(choice) for choice in choices)]
    return f"one of {', '.join(names)}" if len(names) > 1 else repr(names[0])


def choices_in(annotation: Any) -> list[Any]:
    """The values of all ``Literal`` in a type."""
    if get_origin(annotation) is Literal:
        return [*get_args(annotation)]
    return [choice for argument in get_args(annotation) for choice in choices_in(argument)]


def classes_in(annotation: Any) -> list[type]:
    """The classes that an option takes by class path: [Task] for ``list[Task] | int | None``."""
    if get_origin(annotation) is None:
        plain = not inspect.isclass(annotation) or annotation.__module__ == "builtins" or annotation is NoneType
        return [] if plain else [annotation]
    return [cls for argument in get_args(annotation) for cls in classes_in(argument)]


def concrete(base: type) -> Iterator[type]:
    """``base`` and its loaded subclasses, without those that cannot be built."""
    if not inspect.isabstract(base) and not base.__name__.startswith("_"):
        yield base
    subclasses: list[type] = type.__subclasses__(base)
    for subclass in subclasses:
        yield from concrete(subclass)


def loaded_class(path: str) -> type | None:
    """The class at ``path`` when its module is loaded already; nothing is imported to explain an error."""
    module, _, name = path.rpartition(".")
    found = getattr(sys.modules.get(module), name, None)
    return found if inspect.isclass(found) else None


def argument_types(cls: type) -> dict[str, Any]:
    """Names and types of a constructor's arguments; None for a type that is not stated."""
    try:
        parameters = inspect.signature(cls, eval_str=True).parameters.values()
    except (NameError, TypeError, ValueError):  # types as strings that need names we do not have; no signature at all
        return {}
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return {p.name: None if p.annotation is p.empty else p.annotation for p in named}
