"""Small pieces that tests share: a quiet trainer, and networks that train in a blink."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer

from zoo.checkpoint_io import AtomicCheckpointIO


def quiet_trainer(folder: Path | None = None, **settings: Any) -> Trainer:
    """A Trainer on one CPU that prints, logs and saves nothing unless asked to."""
    defaults: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "plugins": [AtomicCheckpointIO()],
        "default_root_dir": folder,
    }
    return Trainer(**{**defaults, **settings})


class StopAt(Callback):
    """Save a checkpoint after a batch and leave, as a run that is cut off does."""

    def __init__(self, file: Path, epoch: int, batch: int | None) -> None:
        self.file, self.epoch, self.batch = file, epoch, batch

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.batch is not None and (trainer.current_epoch, batch_idx) == (self.epoch, self.batch):
            trainer.save_checkpoint(self.file)
            raise Stopped


class Stopped(Exception):
    """The run was cut off on purpose."""
