"""Leaks: rows of two splits, and scalers that have seen more than the training rows, are found and told."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from callbacks.diagnostics import leak_checks
from callbacks.diagnostics.sequence_preflight import SequencePreflight
from datamodules.forecasting_csv import ForecastingCSV
from datamodules.japanese_vowels import JapaneseVowels
from datamodules.sequence_scaler import SequenceScaler
from tests.callbacks.diagnostics.preflight_checks import Overlaps, ScalesEverything, fault, fit, linear, series
from zoo.forecasting import NLinear
from zoo.rnn import RNN
from zoo.task import Classification, Forecasting


class ScalesEverythingInSecret(ForecastingCSV):
    """Its scaler has seen all rows, and names the training rows."""

    @property
    def scaler(self) -> SequenceScaler:  # type: ignore[override]
        scaler = SequenceScaler().fit(self.series.values, torch.tensor([[0, len(self.series.values) - 1]]))
        scaler.fitted_rows = self.part_rows("train")
        return scaler


class ScalesTargetsByAll(ForecastingCSV):
    """The task learns its scale from all rows."""

    @property
    def train_targets(self) -> Tensor:
        return self.series.values[:, :1].float()


class SharesSequences(JapaneseVowels):
    """A sequence is in two splits."""

    def part(self, sequences: Any) -> dict[str, Tensor]:
        parts = super().part(sequences)
        return {**parts, "test": torch.cat([parts["test"], parts["train"][5:6]])}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (ScalesEverything, "the scaler has learned from 60 rows outside the training part, the first is row 140; fit"),
        (ScalesEverythingInSecret, "the scaler's mean and deviation of channel 0 (counted from 0) are"),
        (ScalesTargetsByAll, "the task's mean and deviation of channel 0 (counted from 0) are"),
        (Overlaps, "3 of 17 windows of val are scored on rows that are training targets too, the first is window 0,"
                   " rows 137 to 140; cut the splits apart"),
    ],
    ids=["scaler", "scaler in secret", "task", "windows"],
)  # fmt: skip
def test_what_leaks(tmp_path: Path, kind: type[ForecastingCSV], message: str) -> None:
    assert fault(series(tmp_path, kind), linear()).startswith(f"{kind.__name__}: {message}")


def test_sequences_that_are_in_two_splits() -> None:
    said = fault(SharesSequences(), RNN(12, Classification(9), 4))
    assert "1 of 371 sequences of test are scored on rows that are training targets too" in said


def test_histories_may_reach_into_training_and_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(series(tmp_path, covariates=["price"], stride=3), linear(2), SequencePreflight())
    # The last training window begins at row 126 and has the targets 134 to 137, val windows begin at 132 to 148.
    assert "(6 of 17 val windows read some as their past, which is known then)" in capsys.readouterr().out


def test_gaps_and_constant_channels_pass(tmp_path: Path) -> None:
    lines = ["sales,one,price", *[f"{i % 7},3.3,{'' if i % 5 == 0 else i % 3}" for i in range(200)]]
    (tmp_path / "gaps.csv").write_text("\n".join(lines) + "\n")
    data = ForecastingCSV(str(tmp_path / "gaps.csv"), ["sales"], covariates=["one", "price"], window=8, horizon=4,
                          missing="forward")  # fmt: skip
    fit(data, NLinear(3, 8, Forecasting(1, 4)), SequencePreflight())


def test_spans_against_sets() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        firsts = torch.randint(40, (2, 6), generator=generator)
        lasts = firsts + torch.randint(8, (2, 6), generator=generator)
        spans, others = (torch.stack([f, last], 1) for f, last in zip(firsts, lasts))
        rows = {row for low, high in others.tolist() for row in range(low, high + 1)}
        assert set(leak_checks.covered(others, 60).nonzero().flatten().tolist()) == rows
        touching = [i for i, (low, high) in enumerate(spans.tolist()) if rows & set(range(low, high + 1))]
        assert leak_checks.meeting(spans, others).tolist() == touching
