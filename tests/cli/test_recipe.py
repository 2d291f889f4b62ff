"""Recipes from Python are those of the command line: the same weights at the start, and after a fit."""

import os
from pathlib import Path

import pytest
import torch

import zoo
from datamodules.digits import Digits
from zoo.cli.main import main
from zoo.cnn import ResNet
from zoo.errors import ZooError
from zoo.forecasting import SegRNN
from zoo.gan import GAN
from zoo.generators.mlp import MLPDiscriminator, MLPGenerator
from zoo.task import Forecasting, LanguageModeling, Regression
from zoo.transformer import GPT

OPTIONS = {"trainer.max_epochs": 1, "model.width": 4, "trainer.enable_progress_bar": False, "seed_everything": 7}
FRAGMENTS = ("techniques/init/orthogonal", "techniques/augmentation/mixup")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_fit_from_python_is_that_of_the_command_line(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = zoo.recipe("cnn/digits", *FRAGMENTS, options=OPTIONS)
    assert isinstance(recipe.data(), Digits)
    model = recipe.model()
    assert isinstance(model, ResNet)
    assert model.head.out_features == 10, "linked to the data"
    assert not (here / "runs").exists(), "only the trainer needs a folder"
    assert recipe.model() is model
    trainer = recipe.trainer()
    trainer.fit(model, recipe.data())
    folder = Path(trainer.default_root_dir)
    assert folder.parent == here / "runs" / "cnn" / "digits"
    assert (folder / "config.yaml").is_file()
    monkeypatch.delenv("ZOO_RUN_DIR")
    fragments = [word for name in ("cnn/digits", *FRAGMENTS) for word in ("-c", name)]
    main(["fit", *fragments, *[f"--{key}={value}" for key, value in OPTIONS.items()]])
    typed = torch.load(here / "runs/cnn/digits/latest/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert Path("runs/cnn/digits/latest").resolve() != folder
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, typed[name]), name


def test_the_same_seed_gives_the_same_weights_and_another_gives_others(here: Path) -> None:
    first, second = (zoo.recipe("mlp/digits").model().state_dict() for _ in range(2))
    other = zoo.recipe("mlp/digits", options={"seed_everything": 1}).model().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_two_trainers_have_two_folders(here: Path) -> None:
    first, second = (zoo.recipe("mlp/digits", options=dict(list(OPTIONS.items())[:1])).trainer() for _ in range(2))
    assert first.default_root_dir != second.default_root_dir


def test_importable_recipes(here: Path) -> None:
    from zoo.recipes import tabular
    from zoo.recipes.mlp import digits

    assert type(digits.model()).__name__ == "MLP"
    assert "california_tabm" in dir(tabular)
    with pytest.raises(AttributeError, match="no recipe tabular/california_tab; did you mean california_tabm"):
        _ = tabular.california_tab


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cnn/digit", {}, "no recipe, fragment or file 'cnn/digit'; did you mean cnn/digits"),
        ("mlp/digits", {"model.hiden": [3]}, "unknown option --model.hiden: .* did you mean --model.hidden"),
    ],
    ids=["name", "option"],
)
def test_mistakes(here: Path, name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ZooError, match=message):
        zoo.recipe(name, options=options).model()
    assert not (here / "runs").exists()


def test_names_by_pattern() -> None:
    assert zoo.list(pattern="rnn/etth1*") == ["rnn/etth1", "rnn/etth1_dlinear", "rnn/etth1_nlinear"]
    assert zoo.list("techniques", "*/mixup") == ["techniques/augmentation/mixup"]
    assert {"Digits", "ETTh1"} <= set(zoo.list("data"))
    with pytest.raises(ZooError, match=r"zoo.list knows no 'recipe'; did you mean recipes"):
        zoo.list("recipe")  # type: ignore[arg-type]


def test_networks_by_name() -> None:
    resnet = zoo.create("cnn.resnet", in_channels=3, num_classes=5, width=4, label_smoothing=0.1)
    assert isinstance(resnet, ResNet)
    assert resnet.head.out_features == 5
    assert resnet.task.criterion.label_smoothing == 0.1
    segments = zoo.create("SegRNN", num_channels=2, window=96, num_targets=2, horizon=24)
    assert isinstance(segments, SegRNN)
    assert isinstance(segments.task, Forecasting)
    gpt = zoo.create("GPT", vocabulary_size=11, window=8, width=16, layers=1)
    assert isinstance(gpt, GPT)
    assert isinstance(gpt.task, LanguageModeling)
    values = zoo.create("MLP", task="Regression", in_features=4, num_targets=2)
    assert values.head.out_features == 2
    assert zoo.create("MLP", task=Regression(3), in_features=4).head.out_features == 3
    game = zoo.create("GAN", generator=MLPGenerator([2], latent_dim=2), discriminator=MLPDiscriminator([2]))
    assert isinstance(game, GAN)


@pytest.mark.parametrize(
    ("family", "arguments", "message"),
    [
        ("ResNett", {}, r"no family 'ResNett'; did you mean ResNet or LeNet\?"),
        ("MLP", {"in_features": 2}, "Classification needs num_classes"),
        ("MLP", {"num_classes": 2}, "MLP needs in_features"),
        ("MLP", {"in_features": 2, "num_classes": 2, "hiden": [3]}, "argument 'hiden'; did you mean hidden"),
        ("MLP", {"task": "Regresion", "in_features": 2}, "no task 'Regresion'; did you mean Regression"),
        ("GAN", {"task": "Regression"}, "GAN takes no task"),
    ],
    ids=["family", "task argument", "argument", "typo", "task", "game"],
)
def test_networks_that_cannot_be_built(family: str, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ZooError, match=message):
        zoo.create(family, **arguments)  # type: ignore[arg-type]


def test_a_folder_of_another_run_in_the_environment_is_left_alone(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_RUN_DIR", str(here / "other"))
    trainer = zoo.recipe("mlp/digits", options={"trainer.max_epochs": 1}).trainer()
    assert trainer.default_root_dir != str(here / "other")
    assert os.environ["ZOO_RUN_DIR"] == trainer.default_root_dir
