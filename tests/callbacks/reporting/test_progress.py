"""What a person sees: one line an epoch, and a line that moves on a terminal alone."""

import re
import sys
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from callbacks.reporting import progress
from callbacks.reporting.progress import Progress
from datamodules.digits import Digits
from tests.tools import Stopped, quiet_trainer
from zoo.mlp import MLP
from zoo.task import Classification

BATCHES = 4  # of 400 digits, in an epoch


def fit(*callbacks: Callback, **settings: Any) -> Any:
    torch.manual_seed(0)
    trainer = quiet_trainer(callbacks=list(callbacks), enable_progress_bar=True, **settings)
    trainer.fit(MLP(64, Classification(10), hidden=[8]), datamodule=Digits(batch_size=400))
    return trainer


def test_a_line_an_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    trainer = fit(Progress(), max_epochs=3)
    head, names, *epochs = capsys.readouterr().out.splitlines()
    parameters = 64 * 8 + 8 + 8 * 10 + 10
    assert head == f"MLP on Digits: {parameters} parameters, {BATCHES} batches an epoch, 1 x cpu"
    assert names.split()[:3] == ["epoch", "train/accuracy", "train/loss"]
    assert names.split()[-1] == "time"
    assert [line.split()[0] for line in epochs] == ["1", "2", "3"]
    assert all(re.search(r" \d+\.\d s$", line) for line in epochs)
    assert len({line.rindex(".") for line in epochs}) == 1, "columns stand one above the other"
    last = dict(zip(names.split()[1:-1], epochs[-1].split()[1:-2], strict=True))
    assert last.keys() == trainer.callback_metrics.keys()
    for name, value in trainer.callback_metrics.items():
        assert float(last[name]) == pytest.approx(value.item(), rel=1e-3), name


def test_nothing_moves_in_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    fit(Progress(), max_epochs=2)
    out = capsys.readouterr().out
    assert "\r" not in out
    assert "\x1b" not in out


def test_a_terminal_sees_batches(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(progress, "_REFRESH_SECONDS", 0.0)
    fit(Progress(), max_epochs=2)
    out = capsys.readouterr().out
    drawn = re.findall(r"\r\x1b\[2Kepoch (\d) · (\d)/(\d) · loss (\S+) · \d+ batches/s · (\d+:\d\d) left", out)
    assert [(int(epoch), int(done)) for epoch, done, *_ in drawn] == [
        (epoch, done) for epoch in (1, 2) for done in range(1, BATCHES + 1)
    ]
    assert {total for _, _, total, *_ in drawn} == {str(BATCHES)}
    # The moving line is wiped before an epoch's line is printed.
    assert re.search(r"\r\x1b\[2K +1 ", out) or re.search(r"\r\x1b\[2Kepoch  train", out)
    assert out.endswith(" s\n")


def test_the_moving_line_is_wiped_when_a_run_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fail(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 1:
                raise Stopped

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    bar, fail = Progress(), Fail()
    with pytest.raises(Stopped):
        fit(fail, bar)
    assert capsys.readouterr().out.endswith("\r\x1b[2K")


def test_switched_off(capsys: pytest.CaptureFixture[str]) -> None:
    bar = Progress()
    assert bar.is_enabled
    bar.disable()
    fit(bar)
    assert capsys.readouterr().out == ""
    bar.enable()
    fit(bar)
    assert "MLP on Digits" in capsys.readouterr().out


@pytest.mark.parametrize(("seconds", "clock"), [(0.4, "0:00"), (59.6, "1:00"), (61, "1:01"), (3661, "1:01:01")])
def test_clock(seconds: float, clock: str) -> None:
    assert progress._clock(seconds) == clock
