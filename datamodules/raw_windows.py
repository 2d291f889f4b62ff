"""Series to forecast as people have them: the latest rows, in their own units."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules.calendar_features import calendar_features
from datamodules.raw_sequences import as_sequences
from datamodules.sequence_scaler import Missing, SequenceScaler, check_gaps
from zoo.errors import DataError
from zoo.preprocessing import Preprocessing


@dataclass(frozen=True)
class RawWindows(Preprocessing):
    """Windows (N, window, C) from the ends of series: arrays (steps, columns), targets first, in original units.

    Of a series that is longer than a window the last steps are taken. A network that knows the calendar is given pairs
    of an array and the times of its rows.

    Args:
        outputs: the targets.
        covariates: the other columns.
        window: steps.
        calendar_step: seconds from one row to the next for calendar features; 0 without.
        missing: see SequenceScaler.
        mean, std: of each column, float64 (columns,).
    """

    covariates: tuple[str, ...]
    window: int
    calendar_step: int
    missing: Missing
    mean: Tensor
    std: Tensor

    def __call__(self, raw: Any) -> tuple[Tensor, None]:
        times: list[Any] | None = None
        if self.calendar_step:
            pairs = [raw] if isinstance(raw, tuple) else raw
            if not isinstance(pairs, Sequence) or any(not isinstance(p, tuple) or len(p) != 2 for p in pairs):
                raise DataError("this network knows the calendar: give a pair of the series and the times of its rows")
            raw, times = [p[0] for p in pairs], [np.asarray(p[1], dtype="datetime64[s]") for p in pairs]
        columns = (*self.outputs, *self.covariates)
        series = as_sequences(raw, columns)
        return torch.stack([self._window(one, times and times[place], place) for place, one in enumerate(series)]), None

    def _window(self, values: Tensor, times: Any, place: int) -> Tensor:
        if len(values) < self.window:
            raise DataError(f"series {place} has {len(values)} steps; the network looks back over {self.window}")
        columns = (*self.outputs, *self.covariates)
        check_gaps(
            values[-self.window :], self.missing, "series",
            lambda row, channel: f"series {place}, step {row} of its window, column {columns[channel]!r}",
        )  # fmt: skip
        scaler, offsets = SequenceScaler(self.missing), torch.tensor([0, len(values)])
        scaler.mean, scaler.std = self.mean, self.std
        targets = len(self.outputs)
        parts = [scaler.fill(values, offsets)[:, :targets].float(), scaler.transform(values, offsets)[:, targets:]]
        if self.calendar_step:
            if len(times) != len(values):
                raise DataError(f"series {place} has {len(values)} rows and {len(times)} times")
            parts.append(calendar_features(times, np.timedelta64(self.calendar_step, "s")))
        return torch.cat(parts, 1)[-self.window :]
