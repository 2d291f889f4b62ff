"""What the tests of adversarial training share: a tiny network on digits, a fit, and what holds for every strategy."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from callbacks.adversarial.strategy import AdversarialTraining
from callbacks.augmentation.mixup import MixUp
from callbacks.optimizers.adamw import AdamW
from callbacks.optimizers.sam import SAM
from callbacks.optimizers.sgd import SGD
from callbacks.technique import Conflict, NoEffect, UnsupportedModule
from datamodules.diabetes import Diabetes
from datamodules.digits import Digits
from tests.callbacks.technique_checks import assert_resumes, copy, fit, make_mlp
from tests.tools import quiet_trainer
from zoo.attacks.pgd import pgd
from zoo.attacks.pixels import Pixels
from zoo.batch import Batch
from zoo.cnn import ResNet
from zoo.errors import ZooError
from zoo.mlp import MLP
from zoo.module import SupervisedModule, ZooModule
from zoo.task import Classification, Regression

EPSILON = 0.15
MEAN, STD = Digits.mean, Digits.std


def small_cnn() -> ResNet:
    """With batch norm, which has to be left alone by attacks."""
    torch.manual_seed(0)
    return ResNet(1, Classification(10), [1, 1], 8)


def pixels_of(module: SupervisedModule) -> Pixels:
    return Pixels(module.eval(), MEAN, STD)


def split(name: str = "val") -> tuple[Tensor, Tensor]:
    data = Digits()
    data.setup("fit")
    part = data.splits[name]
    return part.x / 255, part.y  # type: ignore[attr-defined]


def robust_accuracy(module: SupervisedModule, epsilon: float = EPSILON) -> tuple[float, float]:
    """Accuracy on validation images, clean and under PGD-10."""
    model, (x, y) = pixels_of(module), split()
    generator = torch.Generator().manual_seed(0)
    adversarial = pgd(model, x, y, epsilon, 10, generator=generator)
    with torch.no_grad():
        clean, attacked = ((model(images).argmax(1) == y).float().mean().item() for images in (x, adversarial))
    return clean, attacked


class Record(Callback):
    """Each training batch as the module got it, and what it was asked to predict in training mode."""

    def __init__(self, module: SupervisedModule) -> None:
        self.batches: list[tuple[Tensor, Tensor]] = []
        self.trained_on: list[Tensor] = []
        module.register_forward_pre_hook(self._see)

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.batches.append(batch)

    def _see(self, module: Any, inputs: tuple[Tensor, ...]) -> None:
        if module.training:
            self.trained_on.append(inputs[0].detach())


def check_strategy(make: Callable[..., AdversarialTraining], folder: Path, soft_targets: bool = True) -> None:
    """What holds for every strategy: conflict, support, strength, resume, neighbours; ``make`` takes epsilon."""
    name = make(EPSILON).name

    class Other(AdversarialTraining):
        def __init__(self) -> None:
            super().__init__(EPSILON, "linf", 0.0)

        def objective(self, module: SupervisedModule, batch: Batch) -> Any: ...

    with pytest.raises(Conflict, match=f"{name} and Other both want the slot objective"):
        fit(make_mlp(), make(EPSILON), Other(), max_steps=1)
    with pytest.raises(NoEffect, match=f"{name}: epsilon is 0"):
        fit(make_mlp(), make(0.0), max_steps=1)
    with pytest.raises(ZooError, match=f"{name}: epsilon is 8.*divide levels by 255"):
        make(8.0)
    with pytest.raises(UnsupportedModule, match=f"{name} does not support the task Regression"):
        quiet_trainer(callbacks=[make(EPSILON)]).fit(MLP(10, Regression(1), [4]), datamodule=Diabetes())
    with pytest.raises(UnsupportedModule, match=f"{name} measures its ball in pixels .* plain loaders do not"):
        quiet_trainer(callbacks=[make(EPSILON)]).fit(make_mlp(), [(torch.rand(4, 64), torch.tensor([0, 1, 2, 3]))])
    assert_resumes(lambda: [make(EPSILON)], folder)
    module: ZooModule = make_mlp()
    technique = make(EPSILON)
    fit(module, technique, max_steps=2)
    fit(module, technique, max_steps=2)
    assert "objective" not in module.slot_owners
    if soft_targets:
        fit(make_mlp(), MixUp(), make(EPSILON), max_steps=2)
    fit(make_mlp(), SAM(), make(EPSILON), max_steps=2)


def check_learns(
    make: Callable[[], AdversarialTraining], epochs: int, clean: float, robust: float, beside: Callback | None = None
) -> None:
    """A network trained with the strategy withstands where one trained plainly does not."""
    trained = make_mlp("none", 0, (64,))
    fit(trained, AdamW(lr=4e-3), make(), *([beside] if beside else []), batch_size=64, max_epochs=epochs)
    reached = robust_accuracy(trained)
    assert reached[0] > clean
    assert reached[1] > robust
    assert plainly_trained(epochs) < robust - 0.2


@cache
def plainly_trained(epochs: int) -> float:
    """Robust accuracy of the same network without a strategy."""
    module = make_mlp("none", 0, (64,))
    fit(module, AdamW(lr=4e-3), batch_size=64, max_epochs=epochs)
    return robust_accuracy(module)[1]


def weights_after_one_step(make: Callable[[], AdversarialTraining]) -> tuple[dict[str, Tensor], Record, MLP]:
    """Weights after a step of plain gradient descent at rate 1, with what went into it, and a module from before."""
    before, module = make_mlp("none", 0), make_mlp("none", 0)
    record = Record(module)
    fit(module, SGD(lr=1.0, weight_decay=0.0), make(), record, max_steps=1)
    return copy(module), record, before
