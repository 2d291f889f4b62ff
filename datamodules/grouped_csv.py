"""A CSV file in long form: rows that belong together by what stands in one column."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.csv_table import CsvColumns, to_numbers
from datamodules.series_times import check_order, parse_times
from zoo.errors import DataError


class GroupedRows(NamedTuple):
    """The rows of a file, group by group, within a group as in the file.

    Attributes:
        csv: the file.
        names: of the K groups, as they first come.
        rows: which row of the file each is, (R,).
        offsets: int64 (K + 1,), where each group begins, and R.
    """

    csv: CsvColumns
    names: list[str]
    rows: NDArray[np.int64]
    offsets: Tensor

    def where(self, row: int, column: str) -> str:
        """How errors call a cell of the row with this place among the groups."""
        return self.csv.where(int(self.rows[row]), column)

    def cells(self, column: str) -> list[str]:
        """A column as text, group by group."""
        cells = self.csv.cells[column]
        return [cells[row] for row in self.rows.tolist()]

    def numbers(self, columns: Sequence[str], option: str) -> Tensor:
        """Columns as float64 (R, len(columns)), NaN where a value is missing; ``option`` chose them."""
        values = [to_numbers(self.csv, name, f"say --data.{option} without it") for name in columns]
        return torch.tensor(
            np.array(values, dtype=np.float64).reshape(len(columns), self.csv.rows)[:, self.rows].T.copy()
        )

    def times(self, column: str) -> NDArray[np.datetime64]:
        """The times of all rows, which increase within each group."""
        times = parse_times(self.csv, column)[self.rows]
        check_order(self.csv, column, times, self.rows, self.offsets)
        return times


def group_rows(csv: CsvColumns, column: str | None) -> GroupedRows:
    """Group the rows by what a column has; None makes one group of all.

    Raises:
        DataError: a row does not say where it belongs.
    """
    if column is None:
        return GroupedRows(csv, [csv.path.name], np.arange(csv.rows), torch.tensor([0, csv.rows]))
    numbers: dict[str, int] = {}
    for row, cell in enumerate(csv.cells[column]):
        if not cell:
            raise DataError(f"{csv.where(row, column)} is empty; every row has to say what it belongs to")
        numbers.setdefault(cell, len(numbers))
    group = np.array([numbers[cell] for cell in csv.cells[column]])
    counts = torch.from_numpy(np.bincount(group))
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    return GroupedRows(csv, list(numbers), np.argsort(group, kind="stable"), offsets)
