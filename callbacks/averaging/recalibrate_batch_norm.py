"""Batch norm with statistics of the weights as they are, not of the steps that led to them."""

import sys
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from callbacks.averaging.batch_statistics import recalibrate_from_training_data, running_norms
from callbacks.technique import NoEffect, Technique
from zoo.errors import ZooError
from zoo.module import SupervisedModule, ZooModule


class RecalibrateBatchNorm(Technique):
    """Recompute running mean and variance from training data before each validation, and at the end of the run.

    The running statistics of training are an exponential mean over the last steps, each with other weights; these are
    the plain mean over batches with the weights that are evaluated and saved. Wu and Johnson, "Rethinking 'Batch' in
    BatchNorm", 2021, section 3 (PreciseBN). Training itself is unchanged: it normalises by the batch.

    Args:
        batches: training batches for the estimate, at least 1; null for the whole training split.
    """

    supports = SupervisedModule
    patience = sys.maxsize  # acts at validation; a network without batch norm is refused in ``attach``

    def __init__(self, batches: int | None = None) -> None:
        if batches is not None and batches < 1:
            raise ZooError(f"RecalibrateBatchNorm: batches must be at least 1, got {batches}; null takes all")
        self.batches = batches
        self._stale = True

    def attach(self, module: ZooModule) -> None:
        if not running_norms(module):
            raise NoEffect(
                f"RecalibrateBatchNorm: {type(module).__name__} has no batch norm that trains; build it with"
                " norm=batch, or drop RecalibrateBatchNorm"
            )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._stale = True
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._refresh(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nothing yet: an average of the weights may be copied into the module later than this."""

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._batches_seen:
            self._refresh(trainer, pl_module)
            self.require_effect(self._batches_seen, pl_module)

    def _refresh(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, SupervisedModule)
        # Norms may have been frozen since ``attach``.
        if self._stale and running_norms(module) and recalibrate_from_training_data(trainer, module, self.batches):
            self.acted()
            self._stale = False
