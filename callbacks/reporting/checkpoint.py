"""The two checkpoints of a run: the best epoch's and the last."""

from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor


class Checkpoint(ModelCheckpoint):
    """Keeps ``best.ckpt`` and ``last.ckpt``, saved at the end of an epoch, from which a run goes on to the bit.

    Args:
        dirpath: folder for both files.
        monitor: quantity that says which epoch is best, such as "val/accuracy"; without it the last is the best.
        mode: whether the best is the "min" or the "max" of it.
        every_n_train_steps: save ``last.ckpt`` within epochs too, for epochs that take hours; 0 for never.
    """

    def __init__(
        self,
        dirpath: str | Path,
        monitor: str | None = None,
        mode: Literal["min", "max"] = "min",
        every_n_train_steps: int = 0,
    ) -> None:
        super().__init__(
            dirpath=dirpath,
            filename="best",
            monitor=monitor,
            mode=mode,
            save_on_train_epoch_end=True,
            auto_insert_metric_name=False,
            enable_version_counter=False,
        )
        self.every_n_steps_within = every_n_train_steps

    @property
    def state_key(self) -> str:
        # Lightning's is a formatted dictionary, built anew for each hook of each step.
        return "Checkpoint"

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        # Of equals the later epoch is kept: its schedule has come further. Small validation splits tie often.
        if super().check_monitor_top_k(trainer, current):
            return True
        ties = current is not None and self.best_model_score is not None and bool(current == self.best_model_score)
        return trainer.strategy.reduce_boolean_decision(ties)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        # Lightning's save_last keeps an epoch only when it is among the best as well.
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._save_last(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        every, accumulating = self.every_n_steps_within, (batch_idx + 1) % trainer.accumulate_grad_batches != 0
        # On an epoch's last batch the epoch's own checkpoint is about to be saved, and is the one that resumes exactly.
        if every and trainer.global_step % every == 0 and not accumulating and not trainer.is_last_batch:
            self._save_last(trainer)

    def _save_last(self, trainer: Trainer) -> None:
        self.last_model_path = str(Path(str(self.dirpath)) / "last.ckpt")
        trainer.save_checkpoint(self.last_model_path)
