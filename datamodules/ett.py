"""ETT: load and oil temperature of electricity transformers, the series that forecasting is compared on."""

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch

from datamodules.csv_table import read_csv, to_numbers
from datamodules.downloaded import DownloadedFiles, fetch
from datamodules.forecasting import ForecastingDataModule, Series
from datamodules.root import data_root
from datamodules.series_times import parse_times

_SOURCE = "https://raw.githubusercontent.com/zhouhaoyi/ETDataset/main/ETT-small"
_MONTH = 30 * 24  # hours; the literature counts months of 30 days


class TransformerTemperature(DownloadedFiles, ForecastingDataModule):
    """Base of the ETT files: 12 months of 30 days are train, 4 val, 4 test; the rows behind them are left out.

    Args:
        root: folder of all data sets, with the folder ``ett`` in it; None is ZOO_DATA, else a cache folder.
        batch_size, window, horizon, stride, gap, calendar, eval_batch_size, drop_last: see ForecastingDataModule.
    """

    targets = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
    file: ClassVar[str]
    sha256: ClassVar[str]
    rows_per_hour: ClassVar[int]

    def __init__(
        self,
        root: str | None = None,
        batch_size: int | Literal["full"] = 32,
        window: int = 96,
        horizon: int = 96,
        stride: int = 1,
        gap: int = 0,
        calendar: bool = False,
        eval_batch_size: int = 512,
        drop_last: bool = False,
    ) -> None:
        super().__init__(
            batch_size, window, horizon, stride, gap, calendar, eval_batch_size=eval_batch_size, drop_last=drop_last
        )
        self.root = data_root(root)

    def files(self) -> list[Path]:
        return [self.root / "ett" / self.file]

    def download(self) -> None:
        fetch(f"{_SOURCE}/{self.file}", self.sha256, self.files()[0])

    def read(self) -> Series:
        self.require_files()
        csv = read_csv(self.files()[0])
        for name in ("date", *self.targets):
            if name not in csv.cells:
                raise self.damaged(csv.path, f"there is no column {name}")
        month = _MONTH * self.rows_per_hour
        borders = torch.tensor([[0, 12 * month, 16 * month, 20 * month]])
        if csv.rows < 20 * month:
            raise self.damaged(csv.path, f"{csv.rows:,} rows, of which 20 months have {20 * month:,}")
        values = torch.tensor(np.stack([to_numbers(csv, name) for name in self.targets], 1))
        return Series(values, torch.tensor([0, csv.rows]), borders, parse_times(csv, "date"), [type(self).__name__])


class ETTh1(TransformerTemperature):
    """Six loads and the oil temperature of one transformer, 17,420 hours from July 2016 on.

    8,640 rows are train, 2,880 val, 2,880 test; the rows behind them are left out, as the literature does.

    Source: Zhou et al., "Informer: Beyond efficient transformer for long sequence time-series forecasting", 2021
    (CC BY-ND 4.0).

    Args:
        root: folder of all data sets, with ``ett/ETTh1.csv`` in it; None is ZOO_DATA, else a cache folder.
        batch_size, window, horizon, stride, gap, calendar, eval_batch_size, drop_last: see ForecastingDataModule.
    """

    file, rows_per_hour = "ETTh1.csv", 1
    sha256 = "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066"


class ETTm1(TransformerTemperature):
    """The transformer of ETTh1 every 15 minutes: 69,680 rows, of which 34,560 are train, 11,520 val, 11,520 test.

    Source: Zhou et al., "Informer: Beyond efficient transformer for long sequence time-series forecasting", 2021
    (CC BY-ND 4.0).

    Args:
        root: folder of all data sets, with ``ett/ETTm1.csv`` in it; None is ZOO_DATA, else a cache folder.
        batch_size, window, horizon, stride, gap, calendar, eval_batch_size, drop_last: see ForecastingDataModule.
    """

    file, rows_per_hour = "ETTm1.csv", 4
    sha256 = "6ce1759b1a18e3328421d5d75fadcb316c449fcd7cec32820c8dafda71986c9e"
