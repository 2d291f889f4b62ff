"""The base of plain averages that begin late in a run: what is validated, saved and kept is the mean of the weights."""

import sys
from abc import ABC, abstractmethod
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from callbacks.averaging.batch_statistics import recalibrate_from_training_data, running_norms
from callbacks.averaging.mean import has_infinite_buffers, move_towards_
from callbacks.averaging.whole import require_whole
from callbacks.technique import Technique
from zoo.module import SupervisedModule, ZooModule
from zoo.notice import notice


class LateAverage(WeightAveraging, Technique, ABC):
    """Base of the averages in which every point has the same weight: m <- (n m + w) / (n + 1), from some step on.

    A subclass says in ``should_update`` when a point is taken in. Until the first one the run is as it would be
    without; from then on the average is what is validated, tested and saved. Batch norm's running statistics belong to
    weights that no step ever had, so they are recomputed from the training data before each validation and at the end.

    Args:
        recalibrate: recompute the statistics of batch norm; without it they are averaged like weights.
    """

    rivals = ("WeightAveraging",)
    rivalry = "both keep an average, and one of them only would be validated and saved"
    # It acts late by design; what it has not done by the end of the run is looked at there.
    patience = sys.maxsize

    def __init__(self, recalibrate: bool = True) -> None:
        self.recalibrate = recalibrate
        self._trainer: Trainer | None = None
        self._stale, self._infinities = True, False
        super().__init__(multi_avg_fn=self._average)

    @abstractmethod
    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Whether the weights after this optimizer step, counted from 0, are a point of the average."""

    @abstractmethod
    def why_nothing(self) -> str:
        """Why there is no average at the end of a run, in a few words."""

    def attach(self, module: ZooModule) -> None:
        """Nothing to fill: the average lives in Lightning's callback."""

    @property
    def averaged(self) -> int:
        """How many points the average holds."""
        return 0 if self._average_model is None else int(self._average_model.n_averaged)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        require_whole(self.name, pl_module)
        Technique.setup(self, trainer, pl_module, stage)
        self._trainer = trainer
        if stage == "fit":  # a second fit counts its steps anew, and starts a new average
            self._latest_update_step, self._stale = 0, True
        super().setup(trainer, pl_module, stage)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._infinities = has_infinite_buffers(pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        before = self.averaged
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if self.averaged > before:
            self._stale = True
            self.acted()
        Technique.on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.averaged:
            super().on_validation_epoch_start(trainer, pl_module)
            self._refresh(trainer, pl_module)  # swapped back into the average at the end of validation

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.averaged:
            super().on_validation_epoch_end(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.averaged:
            notice(f"{self.name} averaged nothing: {self.why_nothing()}; the last weights stay")
            return
        super().on_train_end(trainer, pl_module)
        self._refresh(trainer, pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # A finished run that is started again trains no step, so that on_train_end never copies the average.
        if self.averaged and self._batches_seen == 0:
            self._copy_average_to_current(pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self._average_model is not None and not self.averaged:
            # What is saved as the average is then what was validated: the weights as they are.
            self._average_model.module.load_state_dict(pl_module.state_dict())
        super().on_save_checkpoint(trainer, pl_module, checkpoint)

    def _refresh(self, trainer: Trainer, module: LightningModule) -> None:
        if self.recalibrate and self._stale and isinstance(module, SupervisedModule) and running_norms(module):
            recalibrate_from_training_data(trainer, module)
            self._stale = False

    def _average(self, averaged: list[Tensor], current: list[Tensor], points: Tensor | int) -> None:
        move_towards_(averaged, current, 1 / (int(points) + 1), self._infinities)
