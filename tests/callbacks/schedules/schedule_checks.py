"""What schedules have to pass: torch's values at each step, and a resume in the middle of a run to the bit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from callbacks.optimizers.momentum import Momentum
from callbacks.schedules.schedule import ProgressSchedule, Schedule
from datamodules.digits import Digits
from tests.tools import StopAt, Stopped, quiet_trainer
from zoo.mlp import MLP
from zoo.task import Classification


def make_optimizer(lr: float = 1.0) -> torch.optim.Optimizer:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr, momentum=0.9)


def walk(scheduler: LRScheduler, steps: int) -> list[float]:
    """The learning rate of each of ``steps`` steps."""
    rates = []
    for _ in range(steps):
        rates.append(float(scheduler.optimizer.param_groups[0]["lr"]))
        scheduler.optimizer.step()
        scheduler.step()
    return rates


def rates(schedule: ProgressSchedule, steps: int) -> list[float]:
    """The learning rate of each step of a run of that length, the highest being 1."""
    scheduler = schedule.build(make_optimizer(), steps, quiet_trainer())
    assert isinstance(scheduler, LRScheduler)
    return walk(scheduler, steps)


def torch_rates(make: Callable[[torch.optim.Optimizer], LRScheduler], steps: int) -> list[float]:
    return walk(make(make_optimizer()), steps)


class StopAtEpochEnd(StopAt):
    """Save and leave where checkpoints of an epoch's end are written."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.current_epoch == self.epoch:
            trainer.save_checkpoint(self.file)
            raise Stopped


def assert_resumes(make: Callable[[], Schedule], folder: Path) -> None:
    """A run that is cut off and goes on, from within an epoch or its end, has the weights and rates of a whole one."""

    def fit(*more: StopAt, ckpt: Path | None = None) -> tuple[MLP, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = MLP(64, Classification(10), hidden=[16])
        trainer = quiet_trainer(max_epochs=4, callbacks=[Momentum(), make(), *more], num_sanity_val_steps=0)
        trainer.fit(model, datamodule=Digits(batch_size=400), ckpt_path=ckpt, weights_only=True if ckpt else None)
        return model, trainer.optimizers[0]

    whole, optimizer = fit()
    for cut in (StopAt(folder / "cut.ckpt", 1, 1), StopAtEpochEnd(folder / "cut.ckpt", 2, None)):
        with pytest.raises(Stopped):
            fit(cut)
        resumed, other = fit(ckpt=folder / "cut.ckpt")
        for name, tensor in whole.state_dict().items():
            assert torch.equal(tensor, resumed.state_dict()[name]), name
        for group, same in zip(optimizer.param_groups, other.param_groups, strict=True):
            assert (group["lr"], group["momentum"]) == (same["lr"], same["momentum"])
