"""What the tests of the preflight share: a short fit, what a refused run is told, and series that leak."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.diagnostics.sequence_preflight import PreflightError, SequencePreflight
from datamodules.forecasting_csv import ForecastingCSV
from datamodules.sequence_scaler import SequenceScaler
from datamodules.windows import WindowSplit
from tests.tools import quiet_trainer
from zoo.forecasting import NLinear
from zoo.module import SupervisedModule
from zoo.task import Forecasting


def fit(data: Any, module: SupervisedModule, *callbacks: Callback, **settings: Any) -> Trainer:
    settings = {"limit_train_batches": 1, "limit_val_batches": 1, "num_sanity_val_steps": 0, **settings}
    trainer = quiet_trainer(callbacks=list(callbacks), **settings)
    trainer.fit(module, datamodule=data)
    return trainer


def fault(data: Any, module: SupervisedModule) -> str:
    """What the preflight says of a run that must not begin."""
    begun = Began()
    with pytest.raises(PreflightError) as caught:
        fit(data, module, SequencePreflight(), begun)
    assert not begun.steps, "the error comes before the first step"
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Began(Callback):
    """Counts training batches."""

    steps = 0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.steps += 1


def series(folder: Path, kind: type[ForecastingCSV] = ForecastingCSV, **options: Any) -> ForecastingCSV:
    walk = np.random.default_rng(0).normal(size=(200, 2)).cumsum(0)
    lines = ["sales,price", *[f"{a:.4f},{b:.4f}" for a, b in walk]]
    (folder / "series.csv").write_text("\n".join(lines) + "\n")
    return kind(str(folder / "series.csv"), ["sales"], **{"window": 8, "horizon": 4, **options})


def linear(channels: int = 1) -> NLinear:
    return NLinear(channels, 8, Forecasting(1, 4))


class ScalesEverything(ForecastingCSV):
    """Its scaler has seen all rows, and says so."""

    @property
    def scaler(self) -> SequenceScaler:  # type: ignore[override]
        return SequenceScaler().fit(self.series.values, torch.tensor([[0, len(self.series.values) - 1]]))


class Overlaps(ForecastingCSV):
    """Validation begins before training ends."""

    def _make_windows(self, name: str, stride: int, number: int) -> WindowSplit:
        split = super()._make_windows(name, stride, number)
        if name == "val":
            split.starts = split.starts - 3
        return split
