"""A user's own series to forecast: one CSV file with a header, one or many series."""

from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from datamodules.base import TensorSplit
from datamodules.csv_table import read_csv, require_columns
from datamodules.forecasting import ForecastingDataModule, Series, median_step
from datamodules.grouped_csv import GroupedRows, group_rows
from datamodules.order import BatchLoader
from datamodules.sequence_scaler import Missing, check_gaps
from zoo.errors import DataError
from zoo.notice import notice


class ForecastingCSV(ForecastingDataModule):
    """Your series: the first 70 % of the time are train, the next 10 % val, the last 20 % test.

    In wide form each row is a time and each target a column; in long form the column ``series`` says which series a row
    belongs to. All series are cut at the same times, so that none tells the future of another; without a time column
    each is cut by its own number of rows. Empty cells, "?", "NA", "NaN", "null" and "None" are missing values.

    Args:
        path: the file; UTF-8, parted by commas, semicolons or tabs.
        targets: columns to forecast.
        time: column of times (ISO 8601, or whole numbers), which increase within a series; None takes the rows as they
            are, one step apart.
        series: column that says which series a row belongs to; None for a single one.
        covariates: columns that help to forecast, known up to now.
        shares: of the time for train, val and test.
        predict_path: a file with the same columns, whose series are forecast beyond their ends; without it ``predict``
            is about the test windows.
        window, horizon, stride, gap, calendar, missing, batch_size, eval_batch_size: see ForecastingDataModule.

    Raises:
        DataError: names row (as a spreadsheet counts, the header is row 1) and column, or the series.
    """

    def __init__(
        self,
        path: str,
        targets: list[str],
        time: str | None = None,
        series: str | None = None,
        covariates: list[str] = [],  # noqa: B006  never changed
        window: int = 96,
        horizon: int = 24,
        stride: int = 1,
        gap: int = 0,
        shares: tuple[float, float, float] = (0.7, 0.1, 0.2),
        calendar: bool = False,
        missing: Missing = "error",
        predict_path: str | None = None,
        batch_size: int | Literal["full"] = 32,
        eval_batch_size: int = 512,
    ) -> None:
        super().__init__(batch_size, window, horizon, stride, gap, calendar, missing, eval_batch_size)
        self.targets, self.covariates = tuple(targets), tuple(covariates)
        self.time, self.series_column, self.shares = time, series, shares
        if not targets or len({*targets, *covariates}) < len(targets) + len(covariates):
            raise DataError(f"targets {targets} and covariates {covariates} have to be different columns, one at least")
        if min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
            raise DataError(f"shares have to be positive and add up to 1, got {list(shares)}")
        self.path = Path(path).expanduser()
        self.predict_path = Path(predict_path).expanduser() if predict_path else None

    @cached_property
    def grouped(self) -> GroupedRows:
        """The file, series by series."""
        return self._group(self.path)

    def read(self) -> Series:
        series = self._series(self.grouped)
        self._show(series)
        return series

    @cached_property
    def new_series(self) -> Series | None:
        """The series whose ends are forecast, in their own units."""
        if self.predict_path is None:
            return None
        grouped = self._group(self.predict_path)
        series = self._series(grouped)
        name = str(self.predict_path)
        check_gaps(series.values, self.missing_policy, name, lambda row, channel: self._where(grouped, row, channel))
        lengths = series.offsets.diff()
        short = (lengths < self.window).nonzero().flatten()
        if len(short):
            first = int(short[0])
            rows = int(lengths[first])
            raise DataError(f"{name}: series {series.names[first]} has {rows} rows, a window has {self.window}")
        return series

    def load(self) -> dict[str, Dataset[Any]]:
        splits = super().load()
        series = self.new_series
        if series is not None:
            rows = series.offsets[1:, None] - self.window + torch.arange(self.window)  # (K, window)
            x = self.prepare(series)[rows]
            splits["predict"] = TensorSplit(x, torch.zeros(len(x), self.horizon, self.num_targets))
        return splits

    def predict_dataloader(self) -> BatchLoader:
        return self._eval_loader("predict") if self.predict_path else super().predict_dataloader()

    def where(self, row: int, channel: int) -> str:
        return self._where(self.grouped, row, channel)

    def _where(self, grouped: GroupedRows, row: int, channel: int) -> str:
        return grouped.where(row, (*self.targets, *self.covariates)[channel])

    def _group(self, path: Path) -> GroupedRows:
        csv = read_csv(path)
        asked = (self.series_column, self.time, *self.targets, *self.covariates)
        require_columns(csv, [name for name in asked if name is not None])
        return group_rows(csv, self.series_column)

    def _series(self, grouped: GroupedRows) -> Series:
        targets = grouped.numbers(self.targets, "targets")
        values = torch.cat([targets, grouped.numbers(self.covariates, "covariates")], 1)
        times = None if self.time is None else grouped.times(self.time)
        offsets = grouped.offsets
        train, val, _ = self.shares
        if times is None:
            ends = [offsets[:-1] + (offsets.diff() * share).round().long() for share in (train, train + val)]
        else:
            instants = np.unique(times)
            cuts = instants[[min(round(share * len(instants)), len(instants) - 1) for share in (train, train + val)]]
            own = [times[low:high] for low, high in zip(offsets.tolist(), offsets[1:].tolist())]
            ends = [offsets[:-1] + torch.tensor([int(np.searchsorted(t, cut)) for t in own]) for cut in cuts]
        borders = torch.stack([offsets[:-1], *ends, offsets[1:]], 1)
        return Series(values, offsets, borders, times, grouped.names)

    def _show(self, series: Series) -> None:
        """Print what was read, and how regular its times are."""
        parts = (series.borders[:, 1:] - series.borders[:, :-1]).sum(0).tolist()
        notice(
            f"{self.path}: {len(series.values):,} rows, {len(series.names):,} series; train, val and test have"
            f" {', '.join(f'{part:,}' for part in parts)} rows; --data.shares changes this"
        )
        if series.times is not None:
            inside = np.ones(len(series.times), dtype=bool)
            inside[series.offsets[:-1].numpy()] = False
            steps = np.diff(series.times, prepend=series.times[:1])[inside]
            uneven = int((steps != median_step(series)).sum())
            if uneven:
                notice(f"{self.path}: {uneven:,} of {len(steps):,} steps of time are not the usual one; rows are taken"
                       " as they are")  # fmt: skip
