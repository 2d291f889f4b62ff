"""Fits from packed weights: by name, with parts that stay, with another head, in a recipe of its own."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import zoo
from zoo.cli.arguments import prepare
from zoo.cli.main import main
from zoo.cli.starting import frozen, starting_weights
from zoo.errors import ZooError
from zoo.init_from import init_from, read_weights
from zoo.mlp import MLP

QUICK = ["--trainer.max_epochs=1", "--trainer.enable_progress_bar=false"]


@pytest.fixture
def fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(*arguments: str) -> Path:
        monkeypatch.setenv("ZOO_RUNS", str(tmp_path))
        monkeypatch.delenv("ZOO_RUN_DIR", raising=False)
        main(["fit", *arguments, *QUICK])
        return Path(os.environ["ZOO_RUN_DIR"])

    return run


def test_a_frozen_backbone_stays_to_the_bit_while_the_head_moves(fit: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run = fit("-c", "cnn/digits_from_mnist", "--freeze", "backbone")
    assert "starting from the weights of cnn/mnist" in capsys.readouterr().out
    before, after = starting_weights("cnn/mnist"), read_weights(run)
    backbone = [name for name in before if name.startswith("backbone.")]
    assert len(backbone) > 10
    for name in backbone:  # running statistics of norms included
        assert torch.equal(before[name].to(after[name].dtype), after[name]), name
    assert not torch.equal(before["head.weight"].float(), after["head.weight"])
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["init_from"] == "cnn/mnist"
    # The run is repeated and resumed with what it says of itself.
    assert prepare("fit", ["-c", str(run)]).init_from == "cnn/mnist"
    assert prepare("resume", [str(run)]).init_from is None


def test_another_head_starts_afresh_and_is_named() -> None:
    module = zoo.load("mlp/digits").module
    assert isinstance(module, MLP)
    width = module.head.in_features
    module.head = torch.nn.Linear(width, 11)
    assert init_from(module, starting_weights("mlp/digits"), "mlp/digits") == ["head.weight", "head.bias"]
    assert module.pretrained >= {"backbone"}
    assert "head" not in module.pretrained  # an init scheme may fill it


def test_the_recipe_starts_from_mnist_unless_told_otherwise() -> None:
    recipe = ["-c", "cnn/digits_from_mnist"]
    assert prepare("fit", recipe).init_from == "cnn/mnist"
    assert prepare("fit", [*recipe, "--init_from", "none"]).init_from is None
    assert prepare("fit", [*recipe, "--init_from", "runs/x"]).init_from == "runs/x"
    assert "init_from" not in prepare("fit", recipe).config


def test_from_python_too() -> None:
    state, weights = zoo.recipe("cnn/digits_from_mnist").model().state_dict(), starting_weights("cnn/mnist")
    assert all(torch.equal(weights[name].to(tensor.dtype), tensor) for name, tensor in state.items())


def test_freeze_adds_to_the_callbacks_of_a_recipe() -> None:
    config = prepare("fit", ["-c", "rnn/japanese_vowels", "--freeze", "encoder", "--freeze", r"^head\b"]).config
    classes = [entry["class_path"].rsplit(".", 1)[-1] for entry in config["trainer"]["callbacks"]]
    assert classes == ["InputNoise", "SAM", "Freeze", "Freeze"]
    assert [entry["init_args"]["match"] for entry in frozen(["backbone.0", r"^head\b"])] == [
        r"^backbone\.0$",
        r"^head\b",
    ]


def test_no_such_weights() -> None:
    with pytest.raises(ZooError, match=r"--init_from takes .* did you mean cnn/mnist"):
        starting_weights("cnn/mnits")
    with pytest.raises(ZooError, match=r"no weights at nowhere\.ckpt"):
        starting_weights("nowhere.ckpt")


def test_packed_weights_are_those_that_are_loaded() -> None:
    weights, state = starting_weights("mlp/digits"), zoo.load("mlp/digits").module.state_dict()
    assert all(torch.equal(weights[name].to(tensor.dtype), tensor) for name, tensor in state.items())
