"""Classes as their source says it, without importing them: bases, attributes, and the methods that really run."""

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


class Method(NamedTuple):
    """One definition of a method, parsed and as it is written."""

    node: ast.FunctionDef
    text: str


class Sources:
    """The classes of some folders. A class is parsed when it is asked about, since parsing all takes 0.1 s.

    Args:
        folders: where to look, subfolders included.
    """

    def __init__(self, *folders: Path) -> None:
        self._folders = folders
        self._parsed: dict[str, ast.ClassDef] = {}

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

    def node(self, name: str) -> ast.ClassDef:
        """A class as Python's parser reads it."""
        if name not in self._parsed:
            (node,) = ast.parse(self.text(name)).body
            assert isinstance(node, ast.ClassDef)
            self._parsed[name] = node
        return self._parsed[name]

    def methods(self, name: str, below: str) -> dict[str, list[Method]]:
        """Every method with the definitions that run when it is called: an override, and what its ``super()`` reaches.

        Args:
            name: the class.
            below: a base that is left out, with all of its own bases.
        """
        found: dict[str, list[Method]] = {}
        for cls in self._known(name, below):
            lines = self.text(cls).splitlines()
            for node in self.node(cls).body:
                if isinstance(node, ast.FunctionDef):
                    earlier = found.setdefault(node.name, [])
                    if not earlier or _calls_on(earlier[-1].node):
                        earlier.append(Method(node, "\n".join(lines[node.lineno - 1 : node.end_lineno])))
        return found

    def attribute(self, name: str, attribute: str, below: str = "") -> ast.expr | None:
        """What a class attribute is set to, in the class or the nearest base that sets it."""
        for cls in self._known(name, below):
            if attribute not in self.text(cls):
                continue
            for node in self.node(cls).body:
                targets = node.targets if isinstance(node, ast.Assign) else []
                targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
                if any(isinstance(target, ast.Name) and target.id == attribute for target in targets):
                    assert isinstance(node, ast.Assign | ast.AnnAssign)
                    if node.value is not None:
                        return node.value
        return None

    def members(self, name: str) -> set[str]:
        """Names that instances have: methods, class attributes, and what methods set on ``self``; bases included."""
        return {one or other for cls in self._known(name) for one, other in _MEMBER.findall(self.text(cls))}

    def mentioned(self, name: str) -> set[str]:
        """The class, its bases, and the classes of the same file that their text names, and those that these name."""
        found: set[str] = set()
        waiting = self._known(name)
        while waiting:
            cls = waiting.pop()
            if cls not in found:
                found.add(cls)
                names = set(re.findall(r"\w+", self.text(cls)))
                waiting += [other for other in names if other in self and self.file(other) == self.file(cls)]
        return found

    def _known(self, name: str, below: str = "") -> list[str]:
        left_out = set(self.lineage(below)) if below else set()
        return [cls for cls in self.lineage(name) if cls in self and cls not in left_out]


def _calls_on(method: ast.FunctionDef) -> bool:
    """Whether a method calls what it overrides: ``super().same(...)`` or ``Base.same(self, ...)``."""
    for node in ast.walk(method):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr=name)):
                if name == method.name:
                    return True
            case ast.Call(func=ast.Attribute(attr=name), args=[ast.Name(id="self"), *_]):
                if name == method.name:
                    return True
    return False


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
    """All tasks, by class name."""
    return [name for name in models() if TASK in models().lineage(name)[1:]]
