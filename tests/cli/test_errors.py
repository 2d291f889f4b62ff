"""Every bad input ends with one line on stderr that says what to do, and with exit status 2."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch import Tensor
from torch.utils.data import Dataset

from callbacks.optimizers.selection import OptimizerSelection
from datamodules.base import TensorSplit, ZooDataModule
from zoo.cli.errors import LONGEST, explain, zoo_error
from zoo.cli.main import main
from zoo.cli.parser import ZooParser, complaints_of
from zoo.errors import DataError, ZooError
from zoo.mlp import MLP

Flaw = Literal["none", "label", "soft", "float", "nan", "empty", "unpaired"]


class Flawed(ZooDataModule):
    """17 vectors of 4 numbers in 3 classes, and one flaw."""

    def __init__(self, flaw: Flaw = "none", batch_size: int = 17, drop_last: bool = False) -> None:
        super().__init__(batch_size, drop_last=drop_last)
        self.flaw = flaw

    in_features = 4
    num_classes = 3

    def load(self) -> dict[str, Dataset[Any]]:
        x, y = torch.zeros(17, 4), torch.arange(17) % 3
        changes: dict[Flaw, Callable[[], tuple[Tensor, Tensor]]] = {
            "none": lambda: (x, y),
            "label": lambda: (x, y.index_fill(0, torch.tensor([5]), 3)),
            "soft": lambda: (x, torch.zeros(17, 5)),
            "float": lambda: (x, torch.zeros(17)),
            "nan": lambda: (x.index_fill(0, torch.tensor([7]), torch.nan), y),
            "empty": lambda: (x[:0], y[:0]),
            "unpaired": lambda: (x, y[:3]),
        }
        return {"train": TensorSplit(*changes[self.flaw]()), "val": TensorSplit(x, y), "test": TensorSplit(x, y)}


class Plain(LightningDataModule):
    """Somebody's DataModule that states nothing."""


class Moody(OptimizerSelection):
    """Complains as a class of another package may: with a ValueError and in two lines."""

    def __init__(self, mood: str = "good") -> None:
        super().__init__()
        if mood != "good":
            raise ValueError(f"mood is\n  {mood}")


class Buggy(OptimizerSelection):
    """A programming error, which is no fault of the user."""

    def __init__(self) -> None:
        super().__init__()
        raise KeyError("lost")


DIGITS = "fit -c cnn/digits"
# What the tests define may be imported, as a user's own package may.
FLAWED = f"fit --trust {__name__} --model MLP --model.task Classification --data Flawed --trainer.max_epochs 1"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def line_of(arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must fail; its one line on stderr, without the prefix."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments.split())
    assert stopped.value.code == 2
    printed = capsys.readouterr()
    assert "usage" not in printed.out
    lines = printed.err.splitlines()
    assert len(lines) == 1, printed.err
    assert lines[0].startswith("zoo: error: ")
    return lines[0].removeprefix("zoo: error: ")


BEFORE_PARSING = {
    "fitt -c cnn/digits": "no command 'fitt'; did you mean fit? (`zoo --help` shows all)",
    "train": "no command 'train' (`zoo --help` shows all)",
    # A second recipe may be about as near; which one depends on what is shipped.
    "fit -c cnn/digit": r"no recipe, fragment or file 'cnn/digit'; did you mean cnn/digits( or \S+)?\?"
    r" \(`zoo list` shows all recipes\)",
    "fit -c nowhere/config.yaml": "no recipe, fragment or file 'nowhere/config.yaml' (`zoo list` shows all recipes)",
    "fit -c": "-c needs a value",
    "test nowhere": "no run folder 'nowhere'; runs are kept in runs/",
}
OPTIONS = {
    "--trainer.max_epoch 1": "unknown option --trainer.max_epoch; did you mean --trainer.max_epochs?",
    "--trainer.max_epoch=1": "unknown option --trainer.max_epoch; did you mean --trainer.max_epochs?",
    "--max_epochs 1": "unknown option --max_epochs; did you mean --trainer.max_epochs?",
    "--lr 1": "unknown option --lr; did you mean --optimizer.lr?",
    "--seed 1": r"unknown option --seed(; did you mean .*| \(`zoo fit --help` shows all\))",
    "--xyzzy": "unknown option --xyzzy (`zoo fit --help` shows all)",
    "--trainer.max_epochs 1 word": "unexpected argument 'word'; options look like --trainer.max_epochs 10",
    "--trainer.max_epochs": "--trainer.max_epochs needs a value",
    "--trainer x": "--trainer is a section, not a value; set its options one by one, such as --trainer.accelerator",
    "--model.widht 8": "unknown option --model.widht: ResNet takes no 'widht'; did you mean --model.width?",
    "--model.init_args.widht 8": "unknown option --model.widht: ResNet takes no 'widht'; did you mean --model.width?",
    "--optimizer.lrr 1": "unknown option --optimizer.lrr: AdamW takes no 'lrr'; did you mean --optimizer.lr?",
    "--optimizer SGD --optimizer.betas 1": r"unknown option --optimizer.betas: SGD takes no 'betas'; it takes lr, .*",
    "--data.batchsize 8": "unknown option --data.batchsize: Digits takes no 'batchsize'; did you mean"
    " --data.batch_size?",
    "--model.task.num_clases 8": "unknown option --model.task.num_clases: Classification takes no 'num_clases'; did"
    " you mean --model.task.num_classes?",
    "--trainer.callbacks+=EMA --trainer.callbacks.decayy=1": "unknown option --trainer.callbacks.decayy: EMA takes no"
    " 'decayy'; did you mean --trainer.callbacks.decay?",
    "--trainer.callbacks.decay=1": "--trainer.callbacks: arguments but no class; name the class first, with"
    " --trainer.callbacks CLASS",
    "--ckpt_path nope.ckpt": "--ckpt_path nope.ckpt: there is no such file; checkpoints are kept in RUN/checkpoints/",
}
CLASSES = {
    "--model ResNett": "unknown class 'ResNett' for --model; did you mean ResNet?",
    "--model zoo.cnnn.ResNet": "unknown class 'zoo.cnnn.ResNet' for --model; did you mean ResNet?",
    "--model Elephant": "unknown class 'Elephant' for --model (`zoo list models` shows all)",
    "--model resnet": "unknown class 'resnet' for --model; did you mean ResNet?",
    "--data Digitss": "unknown class 'Digitss' for --data; did you mean Digits?",
    "--optimizer Adamm": "unknown class 'Adamm' for --optimizer; did you mean Adam?",
    "--optimizer callbacks.optimizers.adamw.AdamWW": "unknown class 'callbacks.optimizers.adamw.AdamWW' for"
    " --optimizer; did you mean AdamW?",
    "--optimizer 0.5": "--optimizer takes a class name, or YAML with class_path and init_args, not '0.5'",
    "--schedule Cosin": "unknown class 'Cosin' for --schedule; did you mean Cosine?",
    "--init Kaiming": "unknown class 'Kaiming' for --init; did you mean KaimingNormal or KaimingUniform?",
    "--init InitScheme": "'InitScheme' for --init is a base class; take one that builds on it"
    " (`zoo list techniques` shows all)",
    "--model.task Clasification": "unknown class 'Clasification' for --model.task; did you mean Classification?",
    "--model.task.loss torch.nn.Nope": "unknown class 'torch.nn.Nope' for --model.task.loss; it takes Module",
    "--data.augment+=RandomCropp": "unknown class 'RandomCropp' for --data.augment; did you mean RandomCrop?",
    "--trainer.callbacks+=EMAA": "unknown class 'EMAA' for --trainer.callbacks; did you mean EMA?",
    "--trainer.callbacks datamodules.digits.Digits": "'datamodules.digits.Digits' for --trainer.callbacks is no"
    " Callback (`zoo list techniques` shows all)",
    "--trainer.logger WandbLoger": "unknown class 'WandbLoger' for --trainer.logger; did you mean WandbLogger?",
    "--model torch.hub.load": "class path 'torch.hub.load' for --model is outside the packages that a run may import"
    " from; if you trust torch, add --trust torch",
    "--trainer.callbacks spam.Eggs": "class path 'spam.Eggs' for --trainer.callbacks is outside the packages that a"
    " run may import from; if you trust spam, add --trust spam",
    "--trainer.logger os.system": "class path 'os.system' for --trainer.logger is refused; name a class of the zoo,"
    " torch or Lightning",
    "--model.help ResNett": "unknown class 'ResNett' for --model; did you mean ResNet?",
}
TYPES = {
    "--trainer.max_epochs many": "--trainer.max_epochs takes int or null, not 'many'",
    "--trainer.enable_checkpointing maybe": "--trainer.enable_checkpointing takes true or false or null, not 'maybe'",
    "--trainer.precision 17": r"--trainer.precision takes one of 64, 32, 16, .* or null, not '17'",
    "--seed_everything x": "--seed_everything takes true or false or int, not 'x'",
    "--model.width 3.5": "--model.width takes int, not '3.5'",
    "--model MLP --model.task Classification --model.hidden 3.5": "--model.hidden takes list of int, not '3.5'",
    "--model.blocks [1,a]": """--model.blocks takes list of int, not "[1, 'a']\"""",
    "--optimizer.lr fast": "--optimizer.lr takes float, not 'fast'",
    "--optimizer.lr a": "--optimizer.lr takes float, not 'a'",
    "--data.batch_size some": "--data.batch_size takes int or 'full', not 'some'",
    "--model.activation rellu": r"--model.activation takes one of .*relu, .*, not 'rellu'; did you mean relu\?",
    "--model.norm bach": r"--model.norm takes one of none, batch, .*, not 'bach'; did you mean batch\?",
    "--model.task.class_weights [a]": """--model.task.class_weights takes list of float or 'balanced' or null, not"""
    """ "['a']\"""",
}
MISSING = {
    "fit": "no model and no data; name a recipe, as in `zoo fit -c cnn/digits` (`zoo list recipes` shows all), or give"
    " --model and --data",
    "fit --data Digits": "no model; name a recipe, as in `zoo fit -c cnn/digits` (`zoo list recipes` shows all), or"
    " give --model",
    "fit --model MLP --model.task Classification": "no data; name a recipe, as in `zoo fit -c cnn/digits` (`zoo list"
    " recipes` shows all), or give --data",
    "fit --model MLP --data Digits": "MLP needs task; give --model.task",
}
LINKED = {
    "--model.in_channels 3": "--model.in_channels is given as 3, but Digits states in_channels = 1; leave it out,"
    " models take it over from their data",
    "--model.init_args.in_channels=3": "--model.in_channels is given as 3, but Digits states in_channels = 1; leave it"
    " out, models take it over from their data",
    "--model LeNet --model.task Classification --model.image_size 28": "--model.image_size is given as 28, but Digits"
    " states image_size = 8; leave it out, models take it over from their data",
    "--model.task.num_classes 7": "--model.task.num_classes is given as 7, but Digits states num_classes = 10; leave"
    " it out, models take it over from their data",
    "--model.init_args.task.init_args.num_classes 7": "--model.task.num_classes is given as 7, but Digits states"
    " num_classes = 10; leave it out, models take it over from their data",
    "--data Diabetes": "the model asks for in_channels, which Diabetes does not have: its samples are not images; use a"
    " model for vectors such as MLP",
    "--model.task Regression": "the model asks for num_targets, which Digits does not have: its targets are classes;"
    " use the task Classification",
}
CONSTRUCTORS = {
    "--optimizer.lr=-1": "AdamW: lr must be positive, got -1.0",
    "--model.dropout 1.5": "dropout must lie in [0, 1), got 1.5",
    "--model MLP --model.task Classification --model.hidden [0]": "MLP: widths must be positive, got hidden=[0]",
    f"--trust {__name__} --optimizer Moody --optimizer.mood bad": "Moody: mood is bad",
}
SETUP = {
    "--data.flaw label": "Flawed train: sample 5 has label 3, outside 0..2 (1 such labels in all)",
    "--data.flaw soft": "Flawed train: targets are torch.float32 of shape (17, 5); classification takes integer labels"
    " (int64, (N,)) or soft targets (N, 3)",
    "--data.flaw float": "Flawed train: targets are torch.float32 of shape (17,); classification takes integer labels"
    " (int64, (N,)) or soft targets (N, 3)",
    "--data.flaw nan": "Flawed train: sample 7 is nan at (0,) (1 such samples in all); remove them or fill the gaps",
    "--data.flaw empty": "Flawed train: the split is empty",
    "--data.flaw unpaired": "Flawed train: 17 inputs but 3 targets",
    "--data.batch_size 8 --model.norm batch": "Flawed train: the last batch holds a single sample, for which batch norm"
    " (backbone.0.norm) has no variance; change --data.batch_size or set --data.drop_last true",
    "--data.batch_size 18 --data.drop_last true": "Flawed train: 17 samples make no full batch of 18; lower"
    " --data.batch_size or leave out --data.drop_last",
    "--data.flaw wrong": r"--data.flaw takes one of none, label, .*, not 'wrong'",
    "--data Plain": "the model asks for in_features, which Plain does not state",
}
CASES = [
    *BEFORE_PARSING.items(), *MISSING.items(), *((f"{FLAWED} {options}", line) for options, line in SETUP.items()),
    *((f"{DIGITS} {options}", line) for group in (OPTIONS, CLASSES, TYPES, LINKED, CONSTRUCTORS)
      for options, line in group.items()),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "expected"), CASES, ids=[arguments for arguments, _ in CASES])
def test_a_bad_command_ends_with_one_line(arguments: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = line_of(arguments, capsys)
    assert line == expected or re.fullmatch(expected, line), line


YAMLS = {
    "trainer: {max_epoch: 3}": "the configuration has an unknown key trainer.max_epoch; did you mean"
    " trainer.max_epochs?",
    "modell: {class_path: ResNet}": "the configuration has an unknown key modell; did you mean model?",
    "trainer: 3": "trainer is a section with keys such as max_epochs, not 3",
    "model: {init_args: {widht: 3}}": "unknown option --model.widht: ResNet takes no 'widht'; did you mean"
    " --model.width?",
    "model: {width: 3}": "--model takes class_path and init_args; the arguments of the class belong under init_args",
    "model: 3": "--model takes a class name, or YAML with class_path and init_args, not '3'",
    "model: null": "no model; name a recipe, as in `zoo fit -c cnn/digits` (`zoo list recipes` shows all), or give"
    " --model",
    "model: {init_args: {blocks: [1, a]}}": "--model.blocks takes list of int, not 'a'",
    "model: {init_args: {activation: rellu}}": r"--model.activation takes one of .*, not 'rellu'; did you mean relu\?",
    "model: {init_args: {in_channels: 3}}": "--model.in_channels is given as 3, but Digits states in_channels = 1;"
    " leave it out, models take it over from their data",
    "optimizer: {init_args: {lr: fast}}": "--optimizer.lr takes float, not 'fast'",
    "optimizer: [{class_path: Adam}, {class_path: Adamm}]": "unknown class 'Adamm' for --optimizer; did you mean Adam?",
    "optimizer: [{class_path: Adam, init_args: {lrr: 1}}]": "unknown option --optimizer.lrr: Adam takes no 'lrr'; did"
    " you mean --optimizer.lr?",
    "optimizer: [{class_path: Adam, init_args: {lr: -1}}]": "Adam: lr must be positive, got -1.0",
    "trainer: {callbacks: [{class_path: EMA}, {class_path: callbacks.averaging.ema.EMAA}]}": "unknown class"
    " 'callbacks.averaging.ema.EMAA' for --trainer.callbacks; did you mean EMA?",
    "trainer: {callbacks: [{class_path: spam.Eggs}]}": "class path 'spam.Eggs' for --trainer.callbacks is outside the"
    " packages that a run may import from; if you trust spam, add --trust spam",
    "data: {init_args: {augment: [{class_path: RandomCrop, init_args: {pading: 1}}]}}": "unknown option"
    " --data.augment.pading: RandomCrop takes no 'pading'; did you mean --data.augment.padding?",
    "model:\n  init_args: {width: 3\ntrainer: 1\n": r"mine\.yaml, line 3: not valid YAML: .+",
    "- model": "mine.yaml: a recipe is a mapping with keys such as model, data and trainer",
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), YAMLS.items(), ids=[*YAMLS])
def test_a_bad_configuration_ends_with_one_line(text: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.yaml").write_text(text)
    line = line_of(f"{DIGITS} -c mine.yaml", capsys)
    assert line == expected or re.fullmatch(expected, line), line


@pytest.mark.parametrize("arguments", ["--help", "--version", "fit --help", "fit --model.help ResNet", "list --help"])
def test_asking_for_help_is_no_error(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    status: str | int | None = 0
    try:
        main(arguments.split())
    except SystemExit as stopped:
        status = stopped.code
    assert status in (0, None)
    printed = capsys.readouterr()
    assert printed.out
    assert printed.err == ""


def reaches_the_run(arguments: str, monkeypatch: pytest.MonkeyPatch) -> bool:
    reached: list[bool] = []
    monkeypatch.setattr(Trainer, "fit", lambda self, *args, **kwargs: reached.append(True))
    monkeypatch.setattr("zoo.cli.cli.ZooCLI.after_fit", lambda self: None)
    main(arguments.split())
    return bool(reached)


@pytest.mark.parametrize("option", ["--model.in_channels 1", "--model.task.num_classes=10"])
def test_a_value_that_agrees_with_the_data_may_be_given(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reaches_the_run(f"{DIGITS} {option}", monkeypatch)


class Pair(Flawed):
    """Two numbers to predict, which differs from Regression's default of one."""

    num_targets = 2


def test_a_default_that_differs_from_the_data_is_no_contradiction(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[MLP] = []
    monkeypatch.setattr("zoo.cli.cli.ZooCLI._run_subcommand", lambda self, command: built.append(self.model))
    main(f"{FLAWED} --data Pair --model.task Regression".split())
    assert built[0].task.out_features == 2


def test_the_same_default_given_by_hand_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    line = line_of(f"{FLAWED} --data Pair --model.task Regression --model.task.num_targets 1", capsys)
    assert line.startswith("--model.task.num_targets is given as 1, but Pair states num_targets = 2; leave it out")


def test_a_programming_error_keeps_its_traceback() -> None:
    with pytest.raises(ValueError, match="lost") as raised:
        main(f"{DIGITS} --trust {__name__} --optimizer Buggy".split())
    assert isinstance(raised.value.__cause__, KeyError)


def test_the_cause_chain_is_searched() -> None:
    inner = DataError("sample 3 is bad")
    outer = RuntimeError("wrapped")
    outer.__cause__ = ValueError("again")
    outer.__cause__.__context__ = inner
    assert zoo_error(outer) is inner
    assert zoo_error(inner) is inner
    assert zoo_error(KeyError("other")) is None


def test_what_a_library_says_is_named_and_flattened() -> None:
    with pytest.raises(ZooError, match=r"^Trainer: devices should be an int$"), complaints_of("Trainer", TypeError):
        raise TypeError("devices should\n  be an int")
    with pytest.raises(TypeError), complaints_of("Trainer"):
        raise TypeError("not among the complaints")
    with pytest.raises(DataError, match=r"^as it stands$"), complaints_of("Trainer"):
        raise DataError("as it stands")


def test_what_is_not_recognised_is_flattened_and_its_end_kept() -> None:
    assert explain("something\n  - quite new", {}) == "something - quite new"
    long = explain("\n".join(f"word{number}" for number in range(500)), {})
    assert len(long) == LONGEST
    assert long.startswith("...")
    assert long.endswith("word498 word499")


def test_an_ambiguous_name_lists_the_full_paths() -> None:
    report = (
        'Parser key "init":\n  - Multiple subclasses with name Constant. Give the full class path to avoid ambiguity:'
        " a.Constant, b.Constant."
    )
    assert explain(report, {}) == (
        "several classes for --init are called Constant; give the full path of one: a.Constant, b.Constant"
    )


def test_options_end_with_their_types() -> None:
    parser = ZooParser()
    parser.add_argument("--depth", type=int | None, default=None)
    assert parser.known_options()["--depth"] == int | None
