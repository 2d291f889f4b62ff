"""``metrics.csv``: one row a step, whole at any time, and the same after a stop as without one."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from callbacks.reporting.metrics_csv import MetricsCSV
from datamodules.digits import Digits
from tests.tools import Stopped, quiet_trainer
from zoo.mlp import MLP
from zoo.task import Classification

BATCHES = 4  # of 400 digits, in an epoch


class Cut(Callback):
    """Saves a checkpoint after a batch, and ends the run so many batches later."""

    def __init__(self, file: Path, step: int, more: int = 0) -> None:
        self.file, self.step, self.end = file, step, step + more

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.file)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.end:
            raise Stopped


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if v} for row in csv.DictReader(file)]


def fit(folder: Path, *callbacks: Callback, ckpt: Path | None = None, **settings: Any) -> None:
    torch.manual_seed(0)
    settings = {"max_epochs": 3, "log_every_n_steps": 1, "logger": [MetricsCSV(folder)], **settings}
    trainer = quiet_trainer(folder, callbacks=list(callbacks), **settings)
    module = MLP(64, Classification(10), hidden=[8], dropout=0.2)
    trainer.fit(module, datamodule=Digits(batch_size=400), ckpt_path=ckpt)


def test_what_is_logged_together_or_apart_is_one_row_a_step(tmp_path: Path) -> None:
    log = MetricsCSV(tmp_path / "run")
    log.log_metrics({"a": 1.0}, 1)
    log.log_metrics({"b": 2.5, "epoch": 0}, 1)
    log.log_metrics({"a": 3.0}, 2)
    log.log_metrics({"c": 4.0}, 3)
    lines = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    assert lines == ["epoch,step,a,b,c", "0,1,1.0,2.5,", ",2,3.0,,", ",3,,,4.0"]
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["metrics.csv"]


def test_readable_after_every_call(tmp_path: Path) -> None:
    log = MetricsCSV(tmp_path)
    for step in range(1, 30):
        log.log_metrics({"a": step / 2, **({f"b{step}": 1.0} if step % 7 == 0 else {})}, step)
        assert [int(row["step"]) for row in rows(tmp_path)] == list(range(1, step + 1))
    assert [float(row["a"]) for row in rows(tmp_path)] == [step / 2 for step in range(1, 30)]


def test_nothing_is_written_before_there_is_something(tmp_path: Path) -> None:
    log = MetricsCSV(tmp_path / "run")
    log.log_hyperparams({"lr": 1.0})
    log.finalize("success")
    assert not (tmp_path / "run").exists()
    assert log.save_dir == log.log_dir == str(tmp_path / "run")


def test_a_run(tmp_path: Path) -> None:
    fit(tmp_path)
    table = rows(tmp_path)
    curve = [int(row["step"]) for row in table if "train/loss_step" in row]
    assert curve == list(range(3 * BATCHES))
    for name in ("train/loss", "train/accuracy", "val/loss", "val/accuracy"):
        assert [int(row["epoch"]) for row in table if name in row] == [0, 1, 2], name


def test_a_run_has_one_row_a_step_in_order(tmp_path: Path) -> None:
    fit(tmp_path)
    steps = [int(row["step"]) for row in rows(tmp_path)]
    assert steps == sorted(set(steps))


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("more", [0, 1, BATCHES])
@pytest.mark.parametrize("step", [2, BATCHES + 2])
def test_a_resumed_run_writes_what_a_whole_one_writes(tmp_path: Path, every: int, more: int, step: int) -> None:
    # What the first part wrote after its checkpoint comes again, and replaces what was there.
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    fit(whole, log_every_n_steps=every)
    with pytest.raises(Stopped):
        fit(parts, Cut(parts / "cut.ckpt", step, more), log_every_n_steps=every)
    fit(parts, ckpt=parts / "cut.ckpt", log_every_n_steps=every)
    assert rows(parts) == rows(whole)


def test_another_logger_on_an_old_file_keeps_its_rows(tmp_path: Path) -> None:
    first = MetricsCSV(tmp_path)
    for step in (1, 2, 3):
        first.log_metrics({"a": float(step), "epoch": 0}, step)
    second = MetricsCSV(tmp_path)
    second.log_metrics({"b": 9.0}, 3)
    assert [(row["step"], row.get("a"), row.get("b")) for row in rows(tmp_path)] == [
        ("1", "1.0", None),
        ("2", "2.0", None),
        ("3", None, "9.0"),
    ]
