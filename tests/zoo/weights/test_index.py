"""The index of the package: what it says is so, and a file that is not the one it speaks of is named."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from zoo.errors import ZooError
from zoo.weights import index
from zoo.weights.index import Entry, Measured

MEASURED = Measured("accuracy", "test", 0.9, 0.01, "max", 0.91)
LIMIT = 25e6  # bytes of all files of the package


def entry(content: bytes = b"abc", name: str = "cnn/digits") -> Entry:
    digest = hashlib.sha256(content).hexdigest()
    return Entry(name, "a.safetensors", digest, len(content), 3, "float16", 0, "0123", MEASURED, {"git": None})


def test_entries_are_kept_by_name(tmp_path: Path) -> None:
    assert index.entries(tmp_path) == {}
    for name in ("mlp/b", "cnn/a", "mlp/b"):
        index.write_entry(entry(name=name), tmp_path)
    assert list(index.entries(tmp_path)) == ["cnn/a", "mlp/b"]
    assert index.find("mlp/b", tmp_path) == entry(name="mlp/b")
    with pytest.raises(ZooError, match=r"no weights for 'mlp/c'; did you mean mlp/b\? \(there are: cnn/a, mlp/b\)"):
        index.find("mlp/c", tmp_path)
    (tmp_path / "index.json").write_text('{"a": {"file": "a"}}')
    with pytest.raises(ZooError, match="is no index of weights"):
        index.entries(tmp_path)


def test_a_file_is_held_against_its_entry(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"abc")
    assert index.verified(entry(), tmp_path) == b"abc"
    for content, message in ((b"abd", "was altered"), (b"abcd", "was altered"), (b"ab", "is cut short: 2 of 3 bytes")):
        (tmp_path / "a.safetensors").write_bytes(content)
        with pytest.raises(ZooError, match=message):
            index.verified(entry(), tmp_path)
    (tmp_path / "a.safetensors").unlink()
    with pytest.raises(ZooError, match="the weights of cnn/digits are missing"):
        index.verified(entry(), tmp_path)


def test_a_measurement_agrees_within_its_tolerance() -> None:
    assert MEASURED.agrees(0.905)
    assert not MEASURED.agrees(0.93)
    assert not MEASURED.agrees(float("nan"))


def test_the_revision_is_of_the_recipe_and_not_of_its_comments() -> None:
    assert index.recipe_revision({"a": 1, "b": [2]}) == index.recipe_revision({"b": [2], "a": 1})
    assert index.recipe_revision({"a": 1}) != index.recipe_revision({"a": 2})


def test_the_packages_own_files_are_whole_and_small() -> None:
    known = index.entries()
    assert known
    for one in known.values():
        assert index.verified(one)
    files = {path.name for path in index.FOLDER.glob("*.safetensors")}
    assert files == {one.file for one in known.values()}, "every file has an entry"
    assert sum(one.size for one in known.values()) <= LIMIT


def test_each_entry_is_of_todays_recipe() -> None:
    from zoo.cli.compose import find, read

    for one in index.entries().values():
        revision = index.recipe_revision(read(find(one.name)))
        assert replace(one, recipe_revision=revision) == one, f"{one.name} was changed: zoo pack it anew"
