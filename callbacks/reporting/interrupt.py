"""Stop when asked to, with nothing lost."""

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class SaveOnSignal(Callback):
    """Ctrl-C or SIGTERM: finish the optimizer step, save ``last.ckpt`` and exit with status 128 + signal.

    The handler only sets a flag; all processes agree on it before they save, between two optimizer steps. A second
    Ctrl-C stops at once.

    Args:
        dirpath: folder of ``last.ckpt``.
    """

    def __init__(self, dirpath: str | Path) -> None:
        self.dirpath = Path(dirpath)
        self._received = 0
        self._previous: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():
            self._received = 0
            self._previous = {number: signal.signal(number, self._note) for number in SIGNALS}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._restore()  # before Lightning puts back its own

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._restore()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        accumulating = (batch_idx + 1) % trainer.accumulate_grad_batches != 0
        # On an epoch's last batch validation and the epoch's own checkpoint come first.
        if not accumulating and not trainer.is_last_batch and self._agreed(trainer):
            trainer.save_checkpoint(self.dirpath / "last.ckpt")
            self._leave(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._agreed(trainer):
            self._leave(trainer)

    def _note(self, number: int, frame: Any) -> None:
        if self._received == number == signal.SIGINT:
            raise KeyboardInterrupt
        self._received = number

    def _agreed(self, trainer: Trainer) -> bool:
        if trainer.world_size > 1:
            flag = torch.tensor(self._received, device=trainer.strategy.root_device)
            self._received = int(trainer.strategy.reduce(flag, reduce_op="max"))
        return self._received != 0

    def _leave(self, trainer: Trainer) -> None:
        name = signal.Signals(self._received).name
        if trainer.is_global_zero:
            print(f"\n{name}: stopped after step {trainer.global_step}. To go on: zoo resume {self.dirpath.parent}")
        self._restore()
        raise SystemExit(128 + self._received)

    def _restore(self) -> None:
        previous: dict[int, Callable[..., Any] | int | None] = self._previous
        for number, handler in previous.items():
            signal.signal(number, handler)
        self._previous = {}
