"""Classes as their source says it, without importing them: bases, class attributes, names of members."""

import ast
import re
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

# The roots that everything descends from.
TECHNIQUE, MODULE, TASK = "Technique", "ZooModule", "Task"
_CLASS = re.compile(r"^class (\w+)(?:\(([^:]*)\))?:.*\n(?:[ \t#)].*\n|\n)*", re.MULTILINE)
_MEMBER = re.compile(r"^    (?:def )?(\w+)[:(]|\bself\.(\w+)(?:: [^=\n]+)? = ", re.MULTILINE)


class Class(NamedTuple):
    """Where a class is defined, the names of its direct bases, and how it is written."""

    file: Path
    bases: list[str]
    text: str


class Sources:
    """The classes of some folders.

    Args:
        folders: where to look, subfolders included.
    """

    def __init__(self, *folders: Path) -> None:
        self._folders = folders

    @cached_property
    def _classes(self) -> dict[str, Class]:
        found: dict[str, Class] = {}
        for file in [file for folder in self._folders for file in sorted(folder.rglob("*.py"))]:
            for match in _CLASS.finditer(file.read_text()):
                bases = [base.split("[")[0].rsplit(".", 1)[-1].strip() for base in (match[2] or "").split(",")]
                found[match[1]] = Class(file, [base for base in bases if base], match[0])
        return found

    def __contains__(self, name: str) -> bool:
        return name in self._classes

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def file(self, name: str) -> Path:
        """Where a class is defined."""
        return self._classes[name].file

    def text(self, name: str) -> str:
        """A class as it is written."""
        return self._classes[name].text

    def bases(self, name: str) -> list[str]:
        """Names of the direct bases, of other packages too."""
        return self._classes[name].bases if name in self else []

    def lineage(self, name: str) -> list[str]:
        """The class and all its bases, in the order in which Python looks for a method."""
        found = [name]
        for base in self.bases(name):
            found += self.lineage(base)
        # A base that is reached on two ways comes after both.
        return [base for place, base in enumerate(found) if base not in found[place + 1 :]]

    def leaves(self, root: str) -> list[str]:
        """The public classes below a root that no other class builds on."""
        parents = {base for name in self for base in self.bases(name)}
        below = [name for name in sorted(self) if root in self.lineage(name)[1:]]
        return [name for name in below if name not in parents and not name.startswith("_")]

    def words(self, name: str, attribute: str) -> tuple[str, ...]:
        """What a class attribute is set to, in the class or the nearest base that sets it.

        Returns:
            The string or the name of the class that it is, or those of a tuple; empty where nothing is set.
        """
        line = re.compile(rf"^    {attribute}(?:: [^=\n]+)? = (.+?)(?:  #.*)?$", re.MULTILINE)
        for cls in self.lineage(name):
            if cls in self and (found := line.search(self.text(cls))):
                value = ast.parse(found[1], mode="eval").body
                parts = value.elts if isinstance(value, ast.Tuple) else [value]
                return tuple(part.id if isinstance(part, ast.Name) else str(ast.literal_eval(part)) for part in parts)
        return ()

    def members(self, name: str) -> set[str]:
        """Names that instances have: methods, class attributes, and what methods set on ``self``; bases included."""
        known = [cls for cls in self.lineage(name) if cls in self]
        return {one or other for cls in known for one, other in _MEMBER.findall(self.text(cls))}


@cache
def techniques() -> Sources:
    """The sources of all techniques."""
    return Sources(Path(__file__).resolve().parents[2] / "callbacks")


@cache
def models() -> Sources:
    """The sources of all families and tasks."""
    return Sources(Path(__file__).resolve().parents[1])


@cache
def tasks() -> list[str]:
    """The tasks that a user may choose, by class name."""
    return models().leaves(TASK)
