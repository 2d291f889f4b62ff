"""The time column of a table of series: read, and in order within each series."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from datamodules.csv_table import CsvColumns
from zoo.errors import DataError


def parse_times(csv: CsvColumns, column: str) -> NDArray[np.datetime64]:
    """A column of dates or times in ISO 8601 ("2016-07-01", "2016-07-01 15:00:00"), or of whole steps, as seconds.

    Raises:
        DataError: names the row of the first cell that is no time.
    """
    cells = csv.cells[column]
    try:
        return np.array([int(cell) for cell in cells], dtype=np.int64).astype("datetime64[s]")
    except ValueError:
        pass
    try:
        times = np.array(cells, dtype="datetime64[s]")
    except ValueError:
        times = None
    if times is not None and not np.isnat(times).any():
        return times
    for row, cell in enumerate(cells):
        try:
            if not np.isnat(np.datetime64(cell, "s")):
                continue
        except ValueError:
            pass
        raise DataError(
            f"{csv.where(row, column)} is {cell!r}, not a time such as 2016-07-01 15:00:00 (whole numbers"
            " do where all cells are some)"
        )
    raise AssertionError("one of the cells is no time")


def check_order(
    csv: CsvColumns, column: str, times: NDArray[np.datetime64], rows: NDArray[np.int64], offsets: Tensor
) -> None:
    """Raise DataError unless the times of each series increase.

    Args:
        csv, column: where the times come from.
        times: (R,), series by series.
        rows: the row of the file that each of them has, (R,).
        offsets: int64 (K + 1,), where each series begins, and R.
    """
    inside = np.ones(len(times), dtype=bool)
    inside[offsets[:-1].numpy()] = False  # the first row of a series has none before it
    inside = inside[1:]
    steps = np.diff(times).astype(np.int64)
    wrong = np.flatnonzero(inside & (steps <= 0))
    if len(wrong):
        first = wrong[0]
        row, before = int(rows[first + 1]), csv.numbers[int(rows[first])]
        what = f"before the time of row {before}" if steps[first] else f"the time of row {before} once more"
        raise DataError(
            f"{csv.where(row, column)} is {csv.cells[column][row]!r}, {what}; sort the rows of each series by time"
        )
