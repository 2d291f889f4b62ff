"""Progress of a run: one line an epoch, and on a terminal a line that moves within the epoch."""

import sys
import time
from typing import Any, Protocol, runtime_checkable

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar

_REFRESH_SECONDS = 0.2


@runtime_checkable
class Tells(Protocol):
    """A callback that tells of some metrics itself, so that the table needs no column for them."""

    told: frozenset[str]


class Progress(ProgressBar):
    """Prints a table that grows by one line an epoch; a few microseconds a step.

    A terminal also sees batches, loss, speed and the time that the run has left; a file or a pipe sees lines only.
    """

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._columns: list[str] = []
        self._next_refresh = 0.0
        self._epoch_start = self._fit_start = 0.0
        self._first_epoch = 0
        self._moving = False
        self._pending: tuple[int, float] | None = None

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    @property
    def is_enabled(self) -> bool:
        return self._enabled

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._fit_start, self._first_epoch = time.monotonic(), trainer.current_epoch
        self._epoch_start = self._fit_start  # an epoch that is taken up in its middle has no start of its own
        if self._shown(trainer):
            print(_headline(trainer, pl_module), flush=True)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._print_epoch(trainer)
        self._epoch_start = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        if now >= self._next_refresh and self._shown(trainer) and sys.stdout.isatty():
            self._next_refresh = now + _REFRESH_SECONDS
            self._draw(trainer, pl_module, batch_idx + 1, now)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._clear()  # callbacks may print lines of their own

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._pending = (trainer.current_epoch + 1, time.monotonic() - self._epoch_start)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._print_epoch(trainer)

    def _print_epoch(self, trainer: Trainer) -> None:
        """Print the epoch that is over: only now does Lightning hold all of its metrics."""
        if self._pending is None or not self._shown(trainer):
            return
        (epoch, seconds), self._pending = self._pending, None
        self._clear()
        told = {name for callback in trainer.callbacks if isinstance(callback, Tells) for name in callback.told}  # type: ignore[attr-defined]
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name not in told}
        columns = sorted(metrics, key=lambda name: (name.split("/")[0] != "train", name))
        if columns != self._columns:
            self._columns = columns
            print("epoch  " + "  ".join(f"{name:>{_width(name)}}" for name in columns) + "      time", flush=True)
        cells = "  ".join(f"{metrics[name]:{_width(name)}.4g}" for name in columns)
        print(f"{epoch:5d}  {cells}  {seconds:6.1f} s", flush=True)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._clear()

    def _draw(self, trainer: Trainer, module: LightningModule, done: int, now: float) -> None:
        batches = trainer.num_training_batches
        epochs = (trainer.max_epochs or 0) - self._first_epoch
        share = (trainer.current_epoch - self._first_epoch + done / batches) / epochs if epochs > 0 else 0
        left = f" · {_clock((now - self._fit_start) * (1 / share - 1))} left" if share > 0 else ""
        speed = done / max(now - self._epoch_start, 1e-9)
        loss = f" · loss {module.last_loss:.4g}" if isinstance(getattr(module, "last_loss", None), float) else ""
        line = f"epoch {trainer.current_epoch + 1} · {done}/{batches}{loss} · {speed:.0f} batches/s{left}"
        sys.stdout.write(f"\r\x1b[2K{line}")
        sys.stdout.flush()
        self._moving = True

    def _clear(self) -> None:
        if self._moving:
            sys.stdout.write("\r\x1b[2K")
            self._moving = False

    def _shown(self, trainer: Trainer) -> bool:
        return self._enabled and trainer.is_global_zero


def _headline(trainer: Trainer, module: LightningModule) -> str:
    trainable = sum(p.numel() for p in module.parameters() if p.requires_grad)
    data = type(trainer.datamodule).__name__ if trainer.datamodule is not None else "data"  # type: ignore[attr-defined]
    place = f"{trainer.world_size} x {trainer.strategy.root_device.type}"
    family = type(module).__name__.removeprefix("FSDP")  # which a network in shards is called beside its own name
    return f"{family} on {data}: {trainable:,} parameters, {trainer.num_training_batches} batches an epoch, {place}"


def _width(name: str) -> int:
    return max(len(name), 8)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
