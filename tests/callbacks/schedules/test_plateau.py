"""Drops where a validation quantity stalls."""

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback
from torch.optim.lr_scheduler import ReduceLROnPlateau

from callbacks.optimizers.sgd import SGD
from callbacks.schedules.plateau import Plateau
from datamodules.digits import Digits
from tests.callbacks.schedules.schedule_checks import assert_resumes, make_optimizer
from tests.tools import quiet_trainer
from zoo.errors import ZooError
from zoo.mlp import MLP
from zoo.module import SupervisedModule
from zoo.task import Classification


class Watch(Callback):
    """Notes the learning rate and the monitored value of each epoch."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.values: list[float] = []

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self.values.append(trainer.callback_metrics["val/loss"].item())


def fit(*callbacks: Callback, **settings: Any) -> Watch:
    watch = Watch()
    trainer = quiet_trainer(callbacks=[*callbacks, watch], num_sanity_val_steps=0, **{"max_epochs": 6, **settings})
    trainer.fit(MLP(64, Classification(10), hidden=[16]), datamodule=Digits(batch_size=400))
    return watch


@pytest.mark.parametrize("accumulate", [1, 3])
def test_equals_torch_once_an_epoch(accumulate: int) -> None:
    # a learning rate this high makes the loss jump about
    schedule = Plateau(factor=0.5, patience=0, threshold=0.3)
    watch = fit(SGD(lr=4.0), schedule, accumulate_grad_batches=accumulate)
    reference = ReduceLROnPlateau(make_optimizer(lr=4.0), factor=0.5, patience=0, threshold=0.3)
    expected = []
    for value in watch.values:
        expected.append(reference.optimizer.param_groups[0]["lr"])
        reference.step(value)
    assert watch.rates == expected
    assert watch.rates[-1] < watch.rates[0]


def test_the_epochs_checkpoint_knows_of_the_drop(tmp_path: Path) -> None:
    class Save(Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 1:
                self.epochs = trainer.lr_scheduler_configs[0].scheduler.last_epoch

    save = Save()
    fit(SGD(), Plateau(), save, max_epochs=2)
    assert save.epochs == 2


def test_resume(tmp_path: Path) -> None:
    assert_resumes(lambda: Plateau(factor=0.5, patience=0, threshold=0.5), tmp_path)


def test_errors() -> None:
    with pytest.raises(ZooError, match="Plateau: train/loss is only known after the epoch's checkpoint was written"):
        Plateau("train/loss")
    with pytest.raises(ZooError, match=r"Plateau: factor must lie in \(0, 1\), got 1.0"):
        Plateau(factor=1.0)
    with pytest.raises(ZooError, match="must not be negative"):
        Plateau(patience=-1)


@pytest.mark.parametrize("settings", [{"limit_val_batches": 0}, {"check_val_every_n_epoch": 2}])
def test_wants_a_validation_in_every_epoch(settings: dict[str, Any]) -> None:
    with pytest.raises(ZooError, match="Plateau counts the epochs in which val/loss gets no better"):
        fit(SGD(), Plateau(), **settings)


def for_matrix(module: SupervisedModule, folder: Path) -> Plateau:
    """Few epochs: each of them disappoints."""
    return Plateau(patience=0, threshold=0.9)
