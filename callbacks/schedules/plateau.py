"""Lower the learning rate when a validation quantity stops getting better."""

import math
from typing import Literal

from lightning.pytorch import Trainer
from lightning.pytorch.utilities.types import LRSchedulerConfigType
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from callbacks.schedules.schedule import Schedule
from zoo.errors import ZooError


class Plateau(Schedule):
    """Multiply the learning rate by ``factor`` after ``patience`` epochs in a row without progress.

    The quantity is looked at once an epoch, after validation and before the epoch's checkpoint is written, so that
    a run that goes on from there knows of it.

    Args:
        monitor: a quantity of validation, such as val/loss or val/accuracy.
        mode: whether less ("min") or more ("max") of it is better.
        factor: of each drop, in (0, 1); 0.1 to 0.5.
        patience: epochs without progress that are put up with; 3 to 10.
        threshold: smallest relative change that counts as progress.
        min_lr: the learning rate falls no further.
        network: which network, for families that have several.
    """

    def __init__(
        self,
        monitor: str = "val/loss",
        mode: Literal["min", "max"] = "min",
        factor: float = 0.3,
        patience: int = 5,
        threshold: float = 1e-4,
        min_lr: float = 0.0,
        network: str = "network",
    ) -> None:
        super().__init__(network)
        if monitor.startswith("train/"):
            raise ZooError(
                f"Plateau: {monitor} is only known after the epoch's checkpoint was written; monitor a quantity of"
                " validation, such as val/loss"
            )
        if not 0 < factor < 1:
            raise ZooError(f"Plateau: factor must lie in (0, 1), got {factor}")
        if patience < 0 or threshold < 0 or min_lr < 0:
            raise ZooError(
                f"Plateau: patience, threshold and min_lr must not be negative, got {patience}, {threshold}, {min_lr}"
            )
        self.monitor, self.mode = monitor, mode
        self.factor, self.threshold, self.min_lr = factor, threshold, min_lr
        self.epochs = patience  # ``self.patience`` is every technique's: batches within which it has to act

    def build(self, optimizer: Optimizer, total_steps: int, trainer: Trainer) -> LRScheduler | LRSchedulerConfigType:
        batches = trainer.num_training_batches
        if not math.isfinite(batches):
            raise ZooError(
                "Plateau looks at its quantity once an epoch, and this data set has no end; limit"
                " --trainer.limit_train_batches"
            )
        if not trainer.enable_validation or trainer.check_val_every_n_epoch != 1:
            raise ZooError(
                f"Plateau counts the epochs in which {self.monitor} gets no better, so it wants a validation in each;"
                " set --trainer.check_val_every_n_epoch 1 and give the run validation data, or choose another schedule"
            )
        scheduler = ReduceLROnPlateau(
            optimizer, self.mode, self.factor, self.epochs, self.threshold, min_lr=self.min_lr
        )
        # By epochs Lightning would update after the checkpoint was written; by steps it does so before.
        return {"scheduler": scheduler, "monitor": self.monitor, "interval": "step", "frequency": int(batches)}
