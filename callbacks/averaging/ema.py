"""Exponential moving average of the weights, on Lightning's own callback."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from callbacks.averaging.mean import has_infinite_buffers, move_towards_
from callbacks.averaging.whole import require_whole
from callbacks.technique import Technique
from zoo.errors import ZooError
from zoo.module import ZooModule


def ema_decay(decay: float, updates: int) -> float:
    """Decay of one update, smaller while few weights have been seen: min(decay, (1 + n) / (10 + n)).

    Without the warm-up an average of 0.999 still holds 37 % of the random initial weights after 1,000 steps.

    Args:
        decay: the final decay, in (0, 1).
        updates: how often the average was updated before, n.
    """
    return min(decay, (1 + updates) / (10 + updates))


class EMA(WeightAveraging, Technique):
    """Validate, test and keep an exponential moving average of the weights: m <- d m + (1 - d) w after each step.

    Polyak and Juditsky 1992 average uniformly; the exponential form follows Tarvainen and Valpola, "Mean teachers",
    2017, eq. 1. Running statistics of batch norm are averaged too.

    Args:
        decay: in (0, 1); 1 - decay is about one over the number of steps that the average remembers.
        warmup: begin with a smaller decay, see ``ema_decay``.
    """

    def __init__(self, decay: float = 0.999, warmup: bool = True) -> None:
        if not 0 < decay < 1:
            raise ZooError(f"EMA: decay must lie in (0, 1), got {decay}; 0.99 to 0.9999 are usual")
        self.decay, self.warmup = decay, warmup
        self._infinities = False
        super().__init__(multi_avg_fn=self._average)

    def attach(self, module: ZooModule) -> None:
        """Nothing to fill: the average lives in Lightning's callback."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        require_whole(self.name, pl_module)
        Technique.setup(self, trainer, pl_module, stage)
        if stage == "fit":
            self._latest_update_step = 0  # a second fit counts its steps anew
        super().setup(trainer, pl_module, stage)

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        due = super().should_update(step_idx, epoch_idx)
        if due:
            self.acted()
        return due

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        Technique.on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        Technique.on_train_end(self, trainer, pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # A finished run that is started again trains no step, so that on_train_end never copies the average.
        if self._average_model is not None:
            self._copy_average_to_current(pl_module)

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # The copy was made before the init schemes ran.
        self._follow_untrained(pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._follow_untrained(pl_module)
        self._infinities = has_infinite_buffers(pl_module)

    def _follow_untrained(self, module: LightningModule) -> None:
        average = self._average_model
        if average is not None and int(average.n_averaged) == 0:
            average.module.load_state_dict(module.state_dict())

    def _average(self, averaged: list[Tensor], current: list[Tensor], updates: Tensor | int) -> None:
        decay = ema_decay(self.decay, int(updates)) if self.warmup else self.decay
        move_towards_(averaged, current, 1 - decay, self._infinities)
