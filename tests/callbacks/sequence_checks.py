"""What the tests of techniques for sequences share: tiny recurrent networks on real data, and a resume to the bit."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import nn

from datamodules.base import ZooDataModule
from datamodules.char_text import CharText
from datamodules.japanese_vowels import JapaneseVowels
from tests.tools import StopAt, Stopped, quiet_trainer
from zoo.module import SupervisedModule
from zoo.rnn import RNN
from zoo.rnn_language_model import RNNLanguageModel
from zoo.task import Classification, LanguageModeling


def vowels_rnn(hidden: int = 12, **arguments: Any) -> RNN:
    torch.manual_seed(0)
    return RNN(12, Classification(9), hidden, **{"dropout": 0.1, "readout": "mean", **arguments})


def vowels() -> ZooDataModule:
    return JapaneseVowels(batch_size=32)


class Text(CharText):
    """The project's own tasks as a text: real, small, and always there."""

    def read(self) -> tuple[str, str]:
        root = Path(__file__).resolve().parents[2] / "zoo" / "tasks"
        return "".join(path.read_text() for path in sorted(root.glob("*.py")))[:7_000], "the tasks"


def text(mode: Any = "streams", **arguments: Any) -> Text:
    settings: dict[str, Any] = {"batch_size": 8, "window": 32, "eval_batch_size": 4, "val_fraction": 0.2}
    return Text(mode=mode, unknown_token=True, **{**settings, **arguments})


@cache
def vocabulary_size() -> int:
    data = text()
    data.setup("fit")
    return data.vocabulary_size


def language_model(**arguments: Any) -> RNNLanguageModel:
    torch.manual_seed(0)
    size = vocabulary_size()
    settings: dict[str, Any] = {"embedding_size": 16, "hidden": 24, "dropout": 0.1, "stateful": True}
    return RNNLanguageModel(size, LanguageModeling(size, "character"), **{**settings, **arguments})


def fit(module: SupervisedModule, data: ZooDataModule, *callbacks: Callback, epochs: int = 2, ckpt: Path | None = None,
        **settings: Any) -> Trainer:  # fmt: skip
    trainer = quiet_trainer(max_epochs=epochs, callbacks=list(callbacks), num_sanity_val_steps=0, **settings)
    trainer.fit(module, datamodule=data, ckpt_path=ckpt, weights_only=True if ckpt else None)
    return trainer


def differences(first: nn.Module, second: nn.Module) -> list[str]:
    ours, theirs = first.state_dict(), second.state_dict()
    assert ours.keys() == theirs.keys()
    return [name for name, tensor in ours.items() if not torch.equal(tensor, theirs[name])]


def check_resume(
    make_model: Callable[[], SupervisedModule],
    make_data: Callable[[], ZooDataModule],
    make_techniques: Callable[[], list[Callback]],
    folder: Path,
    epochs: int = 2,
    cut: tuple[int, int] = (1, 1),
) -> None:
    """Cut off after a batch of an epoch, and gone on: equal to the bit, and not to a run without the techniques."""
    whole = make_model()
    fit(whole, make_data(), *make_techniques(), epochs=epochs)
    plain = make_model()
    fit(plain, make_data(), epochs=epochs)
    assert differences(whole, plain), "the technique changed nothing"
    with pytest.raises(Stopped):
        fit(make_model(), make_data(), *make_techniques(), StopAt(folder / "cut.ckpt", *cut), epochs=epochs)
    resumed = make_model()
    fit(resumed, make_data(), *make_techniques(), epochs=epochs, ckpt=folder / "cut.ckpt")
    assert not differences(whole, resumed)
