"""Every fragment plugs into a real run: it trains, and what it asks for is in the run's configuration."""

import re
from pathlib import Path

import pytest
import yaml

from zoo.cli.compose import compose, find, names
from zoo.cli.main import main

FRAGMENTS = [name for name in names() if name.startswith("techniques/")]


def train(recipe: str, *options: str) -> None:
    """One epoch of a small network."""
    small = {
        "cnn/digits": ["--model.width=4", "--model.blocks=[1,1]"],
        "gan/digits_plain": ["--model.generator.width=4", "--model.discriminator.width=4"],
        "transformer/stdlib_char": ["--model.width=16", "--model.layers=2", "--trainer.limit_train_batches=4"],
    }.get(recipe, [])
    main(["fit", "-c", recipe, *options, *small, "--trainer.max_epochs=1", "--trainer.enable_progress_bar=false"])


@pytest.mark.parametrize("fragment", FRAGMENTS)
def test_a_fragment_trains(fragment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # The first line of a fragment says with which recipe; one that needs no download stands in for the larger images.
    named = re.match(r"# zoo fit -c (\S+) ", find(fragment).read_text())
    assert named, "a fragment begins with the command that uses it"
    recipe = named[1] if named[1].startswith(("mlp/", "rnn/", "gan/", "transformer/")) else "cnn/digits"
    if "/distillation/" in fragment:
        train("cnn/digits")  # the teacher
        monkeypatch.delenv("ZOO_RUN_DIR")
    train(recipe, "-c", fragment)
    run = Path("runs", recipe, "latest")
    config = yaml.safe_load((run / "config.yaml").read_text())
    asked = compose([fragment])
    for section in asked.keys() & {"optimizer", "schedule", "init"}:
        assert config[section]["class_path"] == asked[section]["class_path"]
        for argument, value in asked[section].get("init_args", {}).items():
            assert config[section]["init_args"][argument] == value
    for callback in (asked.get("trainer") or {}).get("callbacks") or []:
        assert callback["class_path"] in [entry["class_path"] for entry in config["trainer"]["callbacks"]]
    assert (run / "checkpoints" / "last.ckpt").is_file()
