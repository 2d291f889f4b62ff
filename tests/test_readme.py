"""What the README shows in Python runs as it stands."""

import re
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[1] / "README.md"


def test_the_python_example_learns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    found = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert found
    scope: dict[str, object] = {}
    exec(found[1].replace("max_epochs=20", "max_epochs=6"), scope)
    metrics = scope["trainer"].callback_metrics  # type: ignore[attr-defined]
    assert float(metrics["test/accuracy"]) > 0.9


@pytest.mark.parametrize(
    ("page", "first"), [("README.md", 1), ("docs/handbook/pretrained.md", 0)], ids=["readme", "handbook"]
)
def test_the_examples_of_trained_networks_run(
    page: str, first: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (README.parent / page).read_text(), re.DOTALL)[first:]
    assert blocks
    for block in blocks:
        exec(block, {})
    said = capsys.readouterr().out
    assert "['0', '1', '2', '3', '4']" in said


def test_every_command_names_what_there_is() -> None:
    from zoo.cli.compose import find

    for name in re.findall(r" -c ([\w/]+)", README.read_text()):
        assert find(name).is_file()
