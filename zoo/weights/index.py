"""The index of the weights that come with the package. Reads JSON only; torch is never imported."""

import difflib
import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from zoo.errors import ZooError

FOLDER = Path(__file__).parent
_FILE = "index.json"


@dataclass(frozen=True)
class Measured:
    """What the weights reach, as they are stored.

    Attributes:
        name: of the metric, without its split: "accuracy".
        split: "test" or "val".
        value: measured with the stored precision.
        tolerance: how far another machine may be off, in the metric's own unit.
        mode: whether "max" or "min" is better.
        unrounded: what the run's own weights reach, before they were rounded.
    """

    name: str
    split: Literal["test", "val"]
    value: float
    tolerance: float
    mode: Literal["min", "max"]
    unrounded: float

    def agrees(self, value: float) -> bool:
        """Whether another measurement lies within the tolerance; NaN does not."""
        return abs(value - self.value) <= self.tolerance

    def __str__(self) -> str:
        return f"{self.split} {self.name} {self.value:.4g} (± {self.tolerance:.2g})"


@dataclass(frozen=True)
class Entry:
    """One weights file.

    Attributes:
        name: of the recipe, such as "cnn/digits".
        file: beside the index.
        sha256, size: of the file, size in bytes.
        parameters: numbers in it.
        dtype: of the parameters; buffers keep theirs.
        seed: of the run.
        recipe_revision: of the recipe that it was trained by, see ``recipe_revision``.
        measured: what it reaches.
        trained: how: epochs, seconds, machine, git revision, packages; for the card.
    """

    name: str
    file: str
    sha256: str
    size: int
    parameters: int
    dtype: str
    seed: int
    recipe_revision: str
    measured: Measured
    trained: dict[str, Any]


def entries(folder: Path = FOLDER) -> dict[str, Entry]:
    """All entries by name, in the order of their names."""
    file = folder / _FILE
    if not file.is_file():
        return {}
    try:
        stored = json.loads(file.read_text())
        return {
            name: Entry(name=name, **{**values, "measured": Measured(**values["measured"])})
            for name, values in sorted(stored.items())
        }
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ZooError(f"{file} is no index of weights: {error}; install the package anew") from None


def find(name: str, folder: Path = FOLDER) -> Entry:
    """The entry of a name; ZooError with near names where there is none."""
    known = entries(folder)
    if name not in known:
        near = difflib.get_close_matches(name, known, 2, 0.6)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ZooError(f"no weights for {name!r}{hint} (there are: {', '.join(known) or 'none'})")
    return known[name]


def write_entry(entry: Entry, folder: Path = FOLDER) -> None:
    """Put an entry into the index, in place of an older one of its name."""
    known = {**entries(folder), entry.name: entry}
    plain = {name: {k: v for k, v in asdict(known[name]).items() if k != "name"} for name in sorted(known)}
    part = folder / f".{_FILE}.part"
    part.write_text(json.dumps(plain, indent=2) + "\n")
    os.replace(part, folder / _FILE)


def verified(entry: Entry, folder: Path = FOLDER) -> bytes:
    """The content of the entry's file.

    Raises:
        ZooError: the file is missing, cut short or altered.
    """
    path = folder / entry.file
    if not path.is_file():
        raise ZooError(f"the weights of {entry.name} are missing: no file {path}; install the package anew")
    content = path.read_bytes()
    if len(content) < entry.size:
        raise ZooError(f"{path} is cut short: {len(content):,} of {entry.size:,} bytes; install the package anew")
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise ZooError(f"{path} was altered: its sha256 is not the one in {_FILE}; install the package anew")
    return content


def recipe_revision(config: dict[str, Any]) -> str:
    """Twelve digits of the sha256 of a merged recipe; comments and the order of keys do not count."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]
