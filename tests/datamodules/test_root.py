from pathlib import Path

import pytest

from datamodules.root import data_root


def test_argument_then_variable_then_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    monkeypatch.setenv("ZOO_DATA", "~/data")
    assert data_root("/given") == Path("/given")
    assert data_root("~/given") == tmp_path / "given"
    assert data_root() == tmp_path / "data"
    monkeypatch.setenv("ZOO_DATA", "")
    assert data_root() == Path("/cache/zoo")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert data_root() == tmp_path / ".cache" / "zoo"
