"""Every fragment plugs into a real run: it trains, and what it asks for is in the run's configuration."""

from pathlib import Path

import pytest
import yaml

from zoo.cli.compose import compose, names
from zoo.cli.main import main

FRAGMENTS = [name for name in names() if name.startswith("techniques/")]


@pytest.mark.parametrize("fragment", FRAGMENTS)
def test_a_fragment_trains(fragment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    main(["fit", "-c", "cnn/digits", "-c", fragment, "--model.width=4", "--model.blocks=[1,1]",
          "--trainer.max_epochs=1", "--trainer.enable_progress_bar=false"])  # fmt: skip
    run = Path("runs/cnn/digits/latest")
    config = yaml.safe_load((run / "config.yaml").read_text())
    asked = compose([fragment])
    for section in asked.keys() & {"optimizer", "schedule", "init"}:
        assert config[section]["class_path"] == asked[section]["class_path"]
        for argument, value in asked[section].get("init_args", {}).items():
            assert config[section]["init_args"][argument] == value
    for callback in (asked.get("trainer") or {}).get("callbacks") or []:
        assert callback["class_path"] in [entry["class_path"] for entry in config["trainer"]["callbacks"]]
    assert (run / "checkpoints" / "last.ckpt").is_file()
