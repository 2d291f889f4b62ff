"""What tests of augmentations share: tiny real runs, and a run that is cut off, resumed and compared to the bit."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback
from torch import Tensor, nn

from callbacks.averaging.ema import EMA
from datamodules.base import ZooDataModule
from datamodules.diabetes import Diabetes
from datamodules.digits import Digits
from datamodules.japanese_vowels import JapaneseVowels
from datamodules.wine import Wine
from tests.tools import StopAt, Stopped, quiet_trainer
from zoo.batch import Batch
from zoo.cnn import ResNet
from zoo.mlp import MLP
from zoo.module import SupervisedModule
from zoo.task import Classification, Regression


def digits_cnn(loss: nn.Module | None = None) -> SupervisedModule:
    torch.manual_seed(0)
    return ResNet(1, Classification(10, loss), [1, 1], width=8, dropout=0.1)


def wine_mlp() -> SupervisedModule:
    torch.manual_seed(0)
    return MLP(13, Classification(3), [16], dropout=0.1)


def diabetes_mlp() -> SupervisedModule:
    torch.manual_seed(0)
    return MLP(10, Regression(), [16])


def digits(batch_size: int = 200) -> ZooDataModule:
    return Digits(batch_size=batch_size)


def wine() -> ZooDataModule:
    return Wine(batch_size=20)


def diabetes() -> ZooDataModule:
    return Diabetes(batch_size=64)


def fit(
    model: SupervisedModule, data: ZooDataModule, *callbacks: Callback, epochs: int = 2, ckpt: Path | None = None
) -> SupervisedModule:
    """The model after a quiet run."""
    trainer = quiet_trainer(max_epochs=epochs, callbacks=list(callbacks))
    trainer.fit(model, datamodule=data, ckpt_path=ckpt, weights_only=True if ckpt else None)
    return model


def assert_same_weights(first: nn.Module, second: nn.Module) -> None:
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name


def differ(first: nn.Module, second: nn.Module) -> bool:
    return any(not torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def check_resume(
    make_model: Callable[[], SupervisedModule],
    make_data: Callable[[], ZooDataModule],
    make_technique: Callable[[], Callback],
    folder: Path,
    epochs: int = 2,
) -> None:
    """Cut off in the middle of the second epoch, with an average of the weights, and gone on: equal to the bit."""
    whole = fit(make_model(), make_data(), make_technique(), EMA(0.9), epochs=epochs)
    assert differ(whole, fit(make_model(), make_data(), EMA(0.9), epochs=epochs)), "the technique changed nothing"
    stop = StopAt(folder / "last.ckpt", 1, 1)
    with pytest.raises(Stopped):
        fit(make_model(), make_data(), make_technique(), EMA(0.9), stop, epochs=epochs)
    resumed = fit(make_model(), make_data(), make_technique(), EMA(0.9), epochs=epochs, ckpt=folder / "last.ckpt")
    assert_same_weights(whole, resumed)


def check_second_fit(model: SupervisedModule, data: ZooDataModule, technique: Callback, name: str) -> None:
    """Attached once however often it fits, and gone afterwards."""
    seen: list[list[str]] = []

    class Look(Callback):
        def on_train_start(self, trainer: object, pl_module: SupervisedModule) -> None:  # type: ignore[override]
            seen.append(list(pl_module.batch_transforms))

    for _ in range(2):
        fit(model, data, technique, Look(), epochs=1)
        assert not model.batch_transforms
    assert seen == [[name], [name]]


class MeanPool(SupervisedModule):
    """Two layers on the mean over the valid steps of a ReLU of each step."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__(Classification(classes))
        torch.manual_seed(0)
        self.steps, self.head = nn.Linear(channels, 32), nn.Linear(32, classes)

    def forward_batch(self, batch: Batch) -> Tensor:
        hidden = self.steps(batch.x).relu()  # (B, T, 32)
        steps = hidden.shape[1]
        lengths = torch.full((len(hidden),), steps) if batch.lengths is None else batch.lengths
        hidden = hidden * (torch.arange(steps) < lengths[:, None]).unsqueeze(2)
        return self.head(hidden.sum(1) / lengths.unsqueeze(1))


def vowels_net() -> SupervisedModule:
    return MeanPool(12, 9)


def vowels() -> ZooDataModule:
    return JapaneseVowels(batch_size=32)


def padded_batch(per_step: bool = False) -> Batch:
    """Sequences of 9, 1, 4 and 7 steps, two channels, no value zero; classes or the numbers of the steps as tags."""
    lengths = torch.tensor([9, 1, 4, 7])
    valid = torch.arange(9) < lengths[:, None]
    x = torch.randn(4, 9, 2, generator=torch.Generator().manual_seed(0)) + 10
    y = torch.arange(9).expand(4, 9).where(valid, -100) if per_step else torch.arange(4)
    return Batch(x * valid.unsqueeze(2), y, lengths)
