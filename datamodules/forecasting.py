"""Series to forecast: windows of the past and the values behind them, split by time."""

from abc import abstractmethod
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.base import ZooDataModule
from datamodules.calendar_features import calendar_features, calendar_size
from datamodules.raw_windows import RawWindows
from datamodules.sequence_scaler import Missing, SequenceScaler, check_gaps
from datamodules.windows import WindowSplit, window_starts
from zoo.errors import DataError
from zoo.preprocessing import Preprocessing

_SPLITS = ("train", "val", "test")


class Series(NamedTuple):
    """K series end to end, R rows in all.

    Attributes:
        values: float64 (R, C), the targets first, then other numbers that are known up to now; NaN is missing.
        offsets: int64 (K + 1,), where each series begins, and R.
        borders: int64 (K, 4), first row of each series' train, val and test part, and the row behind the last.
        times: when each row was, (R,); None where nobody knows.
        names: of the series, for errors.
    """

    values: Tensor
    offsets: Tensor
    borders: Tensor
    times: NDArray[np.datetime64] | None
    names: list[str]


class ForecastingDataModule(ZooDataModule):
    """Base of series to forecast: x (B, window, C) and y (B, horizon, targets), both as floats.

    The first channels of x are the targets, in their own units as y is: the task scales them by ``train_targets``.
    Other channels are standardised with mean and deviation of the training rows, calendar features lie in [-0.5, 0.5].
    The targets of a training window lie wholly in the training part, those of val and test windows in theirs; the
    inputs of the latter reach back into the part before, which is known by then. A window with a missing target is left
    out: no score rests on a value that was made up.

    Args:
        batch_size: training windows in a step of one process, or "full".
        window, horizon: steps of the input, and steps to forecast.
        stride: steps from one training window to the next; val and test have every window.
        gap: steps between the input's end and the first step to forecast.
        calendar: add what the calendar says about each step of the input as channels; see calendar_features.
        missing: what to do with missing values; see SequenceScaler.
        eval_batch_size, drop_last: see ZooDataModule.
    """

    targets: tuple[str, ...]
    covariates: tuple[str, ...] = ()

    def __init__(
        self,
        batch_size: int | Literal["full"] = 32,
        window: int = 96,
        horizon: int = 96,
        stride: int = 1,
        gap: int = 0,
        calendar: bool = False,
        missing: Missing = "error",
        eval_batch_size: int = 512,
        drop_last: bool = False,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, drop_last)
        for name, value, least in (
            ("window", window, 1),
            ("horizon", horizon, 1),
            ("stride", stride, 1),
            ("gap", gap, 0),
        ):
            if value < least:
                raise DataError(f"{type(self).__name__}: {name} must be at least {least}, got {value}")
        self._window, self._horizon, self.stride, self.gap = window, horizon, stride, gap
        self.calendar = calendar
        self.missing_policy: Missing = missing

    # Facts ----------------------------------------------------------------------------------------------------------

    @property
    def window(self) -> int:
        return self._window

    @property
    def horizon(self) -> int:
        return self._horizon

    @property
    def num_targets(self) -> int:
        return len(self.targets)

    @property
    def num_channels(self) -> int:
        return len(self.targets) + len(self.covariates) + (calendar_size(self.step) if self.calendar else 0)

    @property
    def step(self) -> np.timedelta64:
        """Time from one row to the next: the median over all series."""
        if self.series.times is None:
            raise DataError(f"{type(self).__name__}: calendar features need the time of each row")
        return median_step(self.series)

    @property
    def train_targets(self) -> Tensor:
        """Targets of all training rows in their own units, float32 (rows, targets)."""
        bounds = self.part_rows("train").tolist()
        return torch.cat([self._prepared[low : high + 1, : self.num_targets] for low, high in bounds])

    # What a check needs to see that nothing leaks -------------------------------------------------------------------

    @property
    def fitted_rows(self) -> Tensor:
        """First and last of each span of rows that the scaler has learned from, int64 (K, 2)."""
        return self.scaler.fitted_rows

    @property
    def raw_rows(self) -> Tensor:
        """All rows in their own units, the targets first, (R, targets + covariates); NaN is missing."""
        return self.series.values

    def part_rows(self, split: str) -> Tensor:
        """First and last row of a split in each series, int64 (K, 2)."""
        number = _SPLITS.index(split)
        return torch.stack([self.series.borders[:, number], self.series.borders[:, number + 1] - 1], 1)

    def input_rows(self, split: str) -> Tensor:
        """First and last row of the inputs of each window, int64 (N, 2)."""
        return self._windows(split).input_rows

    def target_rows(self, split: str) -> Tensor:
        """First and last row of the targets of each window, int64 (N, 2)."""
        return self._windows(split).target_rows

    # Splits ---------------------------------------------------------------------------------------------------------

    @abstractmethod
    def read(self) -> Series:
        """All series, in their own units, with the borders of their parts."""

    @cached_property
    def series(self) -> Series:
        """All series in their own units, read once and checked."""
        series = self.read()
        check_gaps(series.values, self.missing_policy, type(self).__name__, self.where)
        return series

    @cached_property
    def scaler(self) -> SequenceScaler:
        """The scaler, which has seen the training rows."""
        return SequenceScaler(self.missing_policy).fit(self.series.values, self.part_rows("train"))

    def load(self) -> dict[str, Dataset[Any]]:
        self._prepared = self.prepare(self.series)
        unknown = self.series.values[:, : self.num_targets].isnan().any(1)
        before = torch.cat([torch.zeros(1, dtype=torch.int64), unknown.cumsum(0)])  # rows with a gap before each row
        splits: dict[str, Dataset[Any]] = {}
        for number, name in enumerate(_SPLITS):
            split = self._make_windows(name, self.stride if name == "train" else 1, number)
            first, last = split.target_rows.unbind(1)
            split.starts = split.starts[before[last + 1] == before[first]]
            if not len(split):
                raise DataError(f"{type(self).__name__} {name}: every window has a missing target")
            splits[name] = split
        return splits

    def prepare(self, series: Series) -> Tensor:
        """All rows as the network takes them, float32 (R, num_channels)."""
        own_units = self.scaler.fill(series.values, series.offsets)[:, : self.num_targets].float()
        scaled = self.scaler.transform(series.values, series.offsets)[:, self.num_targets :]
        parts = [own_units, scaled]
        if self.calendar:
            step = self.step  # raises where there are no times
            assert series.times is not None
            parts.append(calendar_features(series.times, step))
        return torch.cat(parts, 1)

    def preprocessing(self) -> Preprocessing | None:
        step = int(self.step / np.timedelta64(1, "s")) if self.calendar else 0
        scaler = self.scaler
        return RawWindows(
            tuple(self.targets), tuple(self.covariates), self.window, step, scaler.missing, scaler.mean, scaler.std
        )

    def where(self, row: int, channel: int) -> str:
        """How errors call a value."""
        return f"{type(self).__name__}: row {row}, column {(*self.targets, *self.covariates)[channel]!r}"

    def _windows(self, split: str) -> WindowSplit:
        found = self.splits[split]
        assert isinstance(found, WindowSplit)
        return found

    def _make_windows(self, name: str, stride: int, number: int) -> WindowSplit:
        bounds = self.series.borders[:, number : number + 2]
        try:
            starts = window_starts(
                bounds, self.series.offsets[:-1], self.window, self.horizon, stride, self.gap, self.series.names
            )
        except DataError as error:
            raise DataError(f"{type(self).__name__} {name}: {error}; lower --data.window or --data.horizon") from None
        return WindowSplit(self._prepared, self.num_targets, starts, self.window, self.horizon, self.gap)

    # Checkpoints ----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Adds what the network's inputs and outputs mean."""
        names = {"targets": list(self.targets), "covariates": list(self.covariates)}
        return {**super().state_dict(), **names, "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Scale covariates as the network was trained, and refuse other columns than it was trained on."""
        super().load_state_dict(state)
        for name, own in (("targets", self.targets), ("covariates", self.covariates)):
            if list(own) != state[name]:
                raise DataError(
                    f"{type(self).__name__}: the checkpoint has the {name} {', '.join(state[name])}; these data have"
                    f" {', '.join(own)}"
                )
        self.scaler.load_state_dict(state["scaler"])
        if self.splits:  # they were scaled before the checkpoint was read
            self.splits = self.load()


def median_step(series: Series) -> np.timedelta64:
    """Median time from one row to the next, over all series; 0 where none has two rows."""
    assert series.times is not None
    steps = np.diff(series.times.astype("datetime64[s]")).astype(np.int64)
    steps = np.delete(steps, series.offsets[1:-1].numpy() - 1)  # from the end of a series to the beginning of another
    return np.timedelta64(int(np.median(steps)) if len(steps) else 0, "s")
