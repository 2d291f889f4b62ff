"""A signal ends a run between two steps, with a checkpoint from which it goes on to the bit."""

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch.multiprocessing.spawn import ProcessExitedException

from callbacks.reporting.checkpoint import Checkpoint
from callbacks.reporting.interrupt import SIGNALS, SaveOnSignal
from callbacks.reporting.metrics_csv import MetricsCSV
from datamodules.digits import Digits
from tests.tools import quiet_trainer
from zoo.mlp import MLP
from zoo.task import Classification

BATCHES = 4  # of 400 digits, in an epoch
ROOT = Path(__file__).parents[3]

SCRIPT = """
import signal, sys, torch
from pathlib import Path
sys.path.insert(0, "tests/callbacks/reporting")
from test_interrupt import Send, fit
torch.set_num_threads(1)
fit(Path(sys.argv[1]), Send(signal.SIGTERM, 1, 1))
print("not reached")
"""


@pytest.fixture(autouse=True)
def _default_handlers() -> Iterator[None]:
    """Each test begins with the handlers of a fresh process, and leaves none behind."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Send(Callback):
    """Sends this process a signal while a batch of an epoch is under way, once or more often."""

    def __init__(self, number: int, epoch: int, batch: int, times: int = 1) -> None:
        self.number, self.place, self.times = number, (epoch, batch), times

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if (trainer.current_epoch, batch_idx) == self.place:
            for _ in range(self.times):
                os.kill(os.getpid(), self.number)


def fit(folder: Path, *callbacks: Callback, ckpt: Path | None = None, **settings: Any) -> tuple[MLP, Trainer]:
    torch.manual_seed(0)
    module = MLP(64, Classification(10), hidden=[16], norm="batch", dropout=0.3)
    checkpoints = [Checkpoint(folder / "checkpoints", "val/accuracy", "max"), SaveOnSignal(folder / "checkpoints")]
    settings = {"max_epochs": 3, "enable_checkpointing": True, **settings}
    trainer = quiet_trainer(callbacks=[*callbacks, *checkpoints], **settings)
    trainer.fit(module, datamodule=Digits(batch_size=400), ckpt_path=ckpt)
    return module, trainer


def assert_goes_on(folder: Path, step: int, **settings: Any) -> None:
    """What was saved is ``step``, and going on from it gives the weights of a run that never stopped."""
    file = folder / "checkpoints" / "last.ckpt"
    assert torch.load(file, weights_only=True)["global_step"] == step
    resumed, _ = fit(folder, ckpt=file, **settings)
    whole, _ = fit(folder / "whole", **settings)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_a_process_that_is_terminated(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert run.returncode == 128 + signal.SIGTERM, run.stderr
    assert f"SIGTERM: stopped after step {BATCHES + 2}. To go on: zoo resume {tmp_path}" in run.stdout
    assert "not reached" not in run.stdout
    assert "Traceback" not in run.stderr
    assert_goes_on(tmp_path, BATCHES + 2)


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(
    ("epoch", "batch", "accumulate", "step"),
    [
        (0, 0, 1, 1),
        (1, 2, 1, BATCHES + 3),
        (1, BATCHES - 1, 1, 2 * BATCHES),  # an epoch's last batch: validation and its own checkpoint come first
        (1, 0, 2, BATCHES // 2 + 1),  # within an accumulation: its step is made first
    ],
)
def test_the_step_is_finished_and_saved(
    tmp_path: Path, number: int, epoch: int, batch: int, accumulate: int, step: int
) -> None:
    settings: dict[str, Any] = {"accumulate_grad_batches": accumulate}
    with pytest.raises(SystemExit) as caught:
        fit(tmp_path, Send(number, epoch, batch), **settings)
    assert caught.value.code == 128 + number
    assert_goes_on(tmp_path, step, **settings)


def test_a_signal_in_the_very_last_batch_changes_nothing(tmp_path: Path) -> None:
    stopped, trainer = fit(tmp_path, Send(signal.SIGTERM, 2, BATCHES - 1))
    assert trainer.global_step == 3 * BATCHES
    whole, _ = fit(tmp_path / "whole")
    assert torch.equal(stopped.head.weight, whole.head.weight)


def test_a_second_interrupt_stops_at_once(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        fit(tmp_path, Send(signal.SIGINT, 0, 1, times=2))
    assert caught.value.code == 1  # what Lightning makes of a KeyboardInterrupt
    assert not (tmp_path / "checkpoints" / "last.ckpt").exists()


@pytest.mark.parametrize("how", ["finished", "stopped", "failed"])
def test_handlers_are_given_back(tmp_path: Path, how: str) -> None:
    during: list[Any] = []

    class Look(Callback):
        def on_train_batch_end(self, *rest: Any) -> None:
            during.extend(signal.getsignal(number) for number in SIGNALS)
            if how == "failed":
                raise ValueError("no reason")

    callbacks = [Look(), *([Send(signal.SIGTERM, 0, 0)] if how == "stopped" else [])]
    if how == "finished":
        fit(tmp_path, *callbacks, max_epochs=1)
    else:
        with pytest.raises((SystemExit, ValueError)):
            fit(tmp_path, *callbacks, max_epochs=1)
    assert all(getattr(handler, "__func__", None) is SaveOnSignal._note for handler in during)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_no_point_of_the_curve_is_lost(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        fit(tmp_path, Send(signal.SIGTERM, 1, 1), logger=[MetricsCSV(tmp_path)], log_every_n_steps=1)
    last = tmp_path / "checkpoints" / "last.ckpt"
    fit(tmp_path, ckpt=last, logger=[MetricsCSV(tmp_path)], log_every_n_steps=1)
    with (tmp_path / "metrics.csv").open(newline="") as file:
        steps = [int(row["step"]) for row in csv.DictReader(file) if row["train/loss_step"]]
    assert steps == list(range(3 * BATCHES))


def test_stopped_at_the_end_of_an_epoch_that_is_not_the_best(tmp_path: Path) -> None:
    class Worse(Callback):
        def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            pl_module.log("val/accuracy", torch.tensor(1.0 - trainer.current_epoch))

    with pytest.raises(SystemExit):
        fit(tmp_path, Worse(), Send(signal.SIGTERM, 1, BATCHES - 1), num_sanity_val_steps=0)
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 2 * BATCHES


def test_two_processes_stop_together(tmp_path: Path) -> None:
    class SecondRank(Send):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if trainer.global_rank == 1:
                super().on_train_batch_start(trainer, pl_module, batch, batch_idx)

    # Only the second process is told; the first saves all the same.
    with pytest.raises(ProcessExitedException, match="exit code 143"):
        fit(tmp_path, SecondRank(signal.SIGTERM, 1, 0), strategy="ddp_fork", devices=2)
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 3  # an epoch of two half as long steps, and one more
