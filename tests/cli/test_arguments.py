"""From what a person types to what the parser reads."""

from pathlib import Path

import pytest
import yaml

from zoo.cli.arguments import prepare, run_folder
from zoo.errors import ZooError

CONFIG = {
    "recipe": "cnn/digits",
    "seed_everything": 3,
    "model": {"class_path": "zoo.mlp.MLP"},
    "trainer": {"max_epochs": 2},
    "ckpt_path": "elsewhere.ckpt",
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder as a fit leaves it."""
    folder = tmp_path / "runs" / "cnn" / "digits" / "20250101-000000"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    for name in ("best", "last"):
        (folder / "checkpoints" / f"{name}.ckpt").touch()
    return folder


def config_of(argv: list[str]) -> object:
    (option,) = [argument for argument in argv if argument.startswith("--config=")]
    return yaml.safe_load(option.removeprefix("--config="))


@pytest.mark.parametrize("source", [["-c", "cnn/digits"], ["--config", "cnn/digits"], ["--config=cnn/digits"]])
def test_a_recipe_becomes_the_first_option(source: list[str]) -> None:
    prepared = prepare("fit", [*source, "--trainer.max_epochs", "1"])
    assert prepared.command == prepared.argv[0] == "fit"
    assert prepared.argv[1].startswith("--config=")
    assert prepared.argv[2:] == ["--trainer.max_epochs", "1"]
    assert prepared.recipe == "cnn/digits"
    assert config_of(prepared.argv) == prepared.config
    assert prepared.run is None


def test_a_recipe_may_come_after_options_and_names_the_run() -> None:
    prepared = prepare("fit", ["--model.width", "8", "-c", "mlp/digits", "-c", "cnn/digits"])
    assert prepared.recipe == "mlp/digits"
    assert prepared.config["model"]["class_path"] == "zoo.cnn.ResNet"
    assert prepared.argv[2:] == ["--model.width", "8"]


def test_a_file_of_ones_own_is_named_by_its_stem(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("seed_everything: 1")
    assert prepare("fit", ["-c", str(tmp_path / "mine.yaml")]).recipe == "mine"


def test_without_a_recipe_nothing_is_added() -> None:
    prepared = prepare("fit", ["--model", "MLP"])
    assert prepared.argv == ["fit", "--model=null", "--model", "MLP"]
    assert prepared.config == {}
    assert prepared.recipe is None


def test_trust_is_taken_out_and_may_be_given_often() -> None:
    prepared = prepare("fit", ["--trust", "spam", "-c", "cnn/digits", "--trust=eggs"])
    assert prepared.trusted == ["spam", "eggs"]
    assert len(prepared.argv) == 2


def test_out_belongs_to_predict_alone(run: Path) -> None:
    assert prepare("predict", [str(run), "--out", "p.csv"]).out == Path("p.csv")
    assert prepare("fit", ["--out", "p.csv"]).argv == ["fit", "--out", "p.csv"]


@pytest.mark.parametrize(
    "switch",
    [
        ["--optimizer", "SGD"],
        ["--optimizer=SGD"],
        ["--model.task=Regression"],
        ["--model.init_args.task", "Regression"],
    ],
)
def test_another_class_first_clears_what_was_there(switch: list[str]) -> None:
    name = switch[0].partition("=")[0]
    argv = prepare("fit", [*switch, "--optimizer.lr", "1"]).argv
    assert argv == ["fit", f"{name}=null", *switch, "--optimizer.lr", "1"]


@pytest.mark.parametrize(
    ("command", "checkpoint"), [("test", "best"), ("validate", "best"), ("predict", "best"), ("resume", "last")]
)
def test_a_run_brings_its_configuration_and_its_checkpoint(run: Path, command: str, checkpoint: str) -> None:
    prepared = prepare(command, [str(run), "--trainer.max_epochs", "5"])
    assert prepared.run == run
    assert prepared.recipe == "cnn/digits"
    assert prepared.command == prepared.argv[0] == ("fit" if command == "resume" else command)
    assert config_of(prepared.argv) == {key: CONFIG[key] for key in ("seed_everything", "model", "trainer")}
    assert prepared.argv[-1] == f"--ckpt_path={run / 'checkpoints' / f'{checkpoint}.ckpt'}"
    assert prepared.argv[2:4] == ["--trainer.max_epochs", "5"]


def test_a_run_may_be_named_by_a_checkpoint_or_a_link(run: Path) -> None:
    (run.parent / "latest").symlink_to(run.name, target_is_directory=True)
    assert run_folder(str(run / "checkpoints" / "best.ckpt")) == run
    assert run_folder(str(run.parent / "latest")) == run


def test_a_checkpoint_given_by_hand_wins(run: Path) -> None:
    argv = prepare("test", [str(run), "--ckpt_path", "other.ckpt"]).argv
    assert argv[-2:] == ["--ckpt_path", "other.ckpt"]
    assert len([argument for argument in argv if "ckpt" in argument]) == 2


def test_more_recipes_change_a_run(run: Path, tmp_path: Path) -> None:
    (tmp_path / "more.yaml").write_text("trainer: {max_epochs: 9}")
    prepared = prepare("resume", [str(run), "-c", str(tmp_path / "more.yaml")])
    assert prepared.config["trainer"] == {"max_epochs": 9}
    assert prepared.recipe == "cnn/digits"


ERRORS = [
    ("resume", [], "resume needs the folder of a run, such as runs/cnn/digits/latest"),
    ("test", ["nowhere"], "no run folder 'nowhere'; runs are kept in runs/"),
    ("test", ["-c", "cnn/digits"], "test needs trained weights: name a run folder, or give --ckpt_path FILE"),
    ("fit", ["-c"], "-c needs a value"),
    ("fit", ["--trust"], "--trust needs a value"),
]


@pytest.mark.parametrize(("command", "argv", "line"), ERRORS)
def test_errors(command: str, argv: list[str], line: str) -> None:
    with pytest.raises(ZooError) as raised:
        prepare(command, argv)
    assert str(raised.value) == line


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match=r"is not the folder of a run: it has no config\.yaml$"):
        prepare("test", [str(tmp_path)])


def test_a_run_without_a_checkpoint(run: Path) -> None:
    (run / "checkpoints" / "best.ckpt").unlink()
    with pytest.raises(ZooError, match=r"has no best\.ckpt; did the run finish its first epoch\?$"):
        prepare("test", [str(run)])
