"""A tiny real data set, small networks, and a fit that stops right after the weights were initialised."""

from collections.abc import Callable

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from sklearn.datasets import load_digits
from torch import Tensor

from datamodules.base import TensorSplit, ZooDataModule
from zoo.cnn import ResNet
from zoo.mlp import MLP
from zoo.module import ZooModule
from zoo.task import Classification


class FewDigits(ZooDataModule):
    """320 handwritten digits, floats of shape (N, 1, 8, 8) in [0, 1]; inputs of the train split grow by ``shift``."""

    shift = 0.0

    def load(self) -> dict[str, TensorSplit]:
        x, y = load_digits(return_X_y=True)
        images, labels = torch.tensor(x).float().view(-1, 1, 8, 8) / 16, torch.tensor(y)
        splits = {"train": slice(0, 256), "val": slice(256, 288), "test": slice(288, 320)}
        return {name: TensorSplit(images[part], labels[part]) for name, part in splits.items()}

    def augment_batch(self, x: Tensor, index: Tensor, seed: int, epoch: int) -> Tensor:
        return x + self.shift


def make_trainer(*callbacks: Callback, max_epochs: int = 0) -> Trainer:
    return Trainer(
        max_epochs=max_epochs,
        accelerator="cpu",
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


@pytest.fixture
def trainer() -> Callable[..., Trainer]:
    """(callbacks, max_epochs=0) -> a quiet trainer."""
    return make_trainer


@pytest.fixture
def data() -> FewDigits:
    return FewDigits(batch_size=64)


@pytest.fixture
def start(data: FewDigits) -> Callable[..., ZooModule]:
    """(module, schemes) -> the module with the weights with which training would begin."""

    def run(module: ZooModule, *schemes: Callback) -> ZooModule:
        make_trainer(*schemes).fit(module, datamodule=data)
        return module

    return run


@pytest.fixture
def mlp() -> MLP:
    torch.manual_seed(0)
    return MLP(64, Classification(10), hidden=[32, 32, 32])


@pytest.fixture
def resnet() -> ResNet:
    torch.manual_seed(0)
    return ResNet(1, Classification(10), blocks=[1, 1], width=8)


@pytest.fixture
def std_over_seeds() -> Callable[..., float]:
    """(fill, shape, seeds=20) -> root mean square of a filled weight, pooled over seeds."""

    def measure(fill: Callable[[Tensor], object], *shape: int, seeds: int = 20) -> float:
        total = 0.0
        for seed in range(seeds):
            torch.manual_seed(seed)
            weight = torch.empty(shape)
            fill(weight)
            total += weight.square().mean().item()
        return (total / seeds) ** 0.5

    return measure
