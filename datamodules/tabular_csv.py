"""A user's own table: one CSV file with a header, and the name of the column to predict."""

from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.base import TensorSplit
from datamodules.csv_table import (
    ColumnType,
    CsvColumns,
    by_value,
    holds_numbers,
    infer_types,
    read_csv,
    to_numbers,
    to_table,
)
from datamodules.mixed_table import MixedTableDataModule
from datamodules.order import BatchLoader
from datamodules.table_encoder import Categories, Scaling, Table
from zoo.errors import DataError
from zoo.notice import notice

# With so many different whole numbers or fewer, a target is taken for classes.
_FEW_CLASSES = 10
# A class needs a row in each split.
_ROWS_OF_A_CLASS = 3
# What else a target with a text among its numbers may be.
_CLASSES = "say kind: classification"


class TabularCSV(MixedTableDataModule):
    """Your table: 64 % of the rows are train, 16 % val, 20 % test; of every class where there are classes.

    A column is one of numbers where all its cells are, else one of categories. Empty cells, "?", "NA", "NaN", "null"
    and "None" are missing values, which are fine in features. What was inferred is printed, so that it can be
    corrected. Rows that belong together (one patient, one machine) may fall into different splits: scores flatter then.

    Args:
        path: the file; UTF-8, parted by commas, semicolons or tabs.
        target: name of the column to predict.
        kind: "auto" takes text and up to 10 different whole numbers for classes, all else for regression.
        columns: types of columns that were inferred wrongly, such as {zip: category, id: ignore}.
        predict_path: a file of new rows for ``predict``, with the same columns; the target is not needed. Without it
            the test split is predicted.
        batch_size, scaling, categories, split_seed, eval_batch_size, drop_last: see MixedTableDataModule.

    Raises:
        DataError: names row (as a spreadsheet counts, the header is row 1) and column.
    """

    def __init__(
        self,
        path: str,
        target: str,
        kind: Literal["auto", "regression", "classification"] = "auto",
        columns: dict[str, ColumnType] = {},  # noqa: B006  never changed
        predict_path: str | None = None,
        batch_size: int | Literal["full"] = 128,
        scaling: Scaling = "quantile",
        categories: Categories = "codes",
        split_seed: int = 0,
        eval_batch_size: int = 1024,
        drop_last: bool = False,
    ) -> None:
        super().__init__(batch_size, scaling, categories, split_seed, eval_batch_size, drop_last)
        self.path, self.target, self.kind = Path(path).expanduser(), target, kind
        self.predict_path = Path(predict_path).expanduser() if predict_path else None
        self.csv = read_csv(self.path)
        self.types = infer_types(self.csv, target, columns)
        self.numbers = [name for name, kind in self.types.items() if kind == "number"]
        self.words = [name for name, kind in self.types.items() if kind == "category"]
        self.features = (*self.numbers, *self.words)
        if not self.features:
            raise DataError(f"{self.path}: no column is left to predict {target!r} from")
        self._check_target(columns)
        if self._is_classification():
            self.classes = tuple(sorted(set(self.csv.cells[target]), key=by_value))
            self._check_classes()
        else:
            self.targets = (target,)

    def read_table(self) -> tuple[Table, Tensor]:
        self._show()
        if self.classes:
            code = {name: number for number, name in enumerate(self.classes)}
            y = torch.tensor([code[cell] for cell in self.csv.cells[self.target]])
        else:
            y = torch.tensor(to_numbers(self.csv, self.target, _CLASSES), dtype=torch.float64)
        return to_table(self.csv, self.numbers, self.words), y

    @cached_property
    def new_rows(self) -> CsvColumns | None:
        """The file to predict, as text."""
        return read_csv(self.predict_path) if self.predict_path else None

    def load(self) -> dict[str, Dataset[Any]]:
        splits = super().load()
        if self.new_rows is not None:
            table = to_table(self.new_rows, self.numbers, self.words, "leave it empty, as a missing value")
            x = self.encoder.encode(table)
            splits["predict"] = TensorSplit(
                x, torch.zeros(len(x), dtype=torch.int64 if self.classes else torch.float32)
            )
        return splits

    def predict_dataloader(self) -> BatchLoader:
        if self.new_rows is None:
            return super().predict_dataloader()
        self._show_unknown(self.new_rows)  # here, where the encoder is that of the checkpoint
        return self._eval_loader("predict")

    def _check_target(self, columns: dict[str, ColumnType]) -> None:
        cells = self.csv.cells[self.target]
        for row, cell in enumerate(cells):
            if not cell:
                raise DataError(f"{self.csv.where(row, self.target)}: the target is missing; fill it or drop the row")
        if len(set(cells)) == 1:
            raise DataError(f"{self.path}: column {self.target!r} is {cells[0]!r} in every row; nothing can be learned")
        for name in self.features:
            if name not in columns and self.csv.cells[name] == cells:
                raise DataError(
                    f"{self.path}: column {name!r} says in every row what the target {self.target!r} says; leave it out"
                    f" with columns: {{{name}: ignore}} or keep it with columns: {{{name}: {self.types[name]}}}"
                )

    def _check_classes(self) -> None:
        cells = self.csv.cells[self.target]
        name, rows = min(Counter(cells).items(), key=lambda item: item[1])
        if rows < _ROWS_OF_A_CLASS:
            raise DataError(
                f"{self.csv.where(cells.index(name), self.target)} is {name!r}, a class of {rows} row{'s' * (rows > 1)}"
                f" (of {len(self.classes)} classes); train, val and test need one each: drop or rename rare classes,"
                " or say kind: regression if these are numbers"
            )

    def _is_classification(self) -> bool:
        if self.kind != "auto":
            return self.kind == "classification"
        if not holds_numbers(self.csv, self.target, _CLASSES):
            return True
        values = set(to_numbers(self.csv, self.target))
        return len(values) <= _FEW_CLASSES and all(value.is_integer() for value in values)

    def _show(self) -> None:
        """Print what was inferred."""
        words = [f"{name} ({len(set(self.csv.cells[name]))} values)" for name in self.words]
        outcome = f"{len(self.classes)} classes ({_some(list(self.classes))})" if self.classes else "regression"
        notice(
            f"{self.path}: {self.csv.rows:,} rows; {len(self.numbers)} numbers: {_some(self.numbers)}; {len(words)}"
            f" categories: {_some(words)}; target {self.target}: {outcome}; --data.columns and --data.kind change this"
        )

    def _show_unknown(self, new: CsvColumns) -> None:
        """Print which categories no training row has: the network knows nothing about them but that they are new."""
        for name, known in zip(self.words, self.encoder.vocabulary, strict=True):
            unknown = [row for row, cell in enumerate(new.cells[name]) if cell not in known]
            if unknown:
                also = f" ({len(unknown)} such rows in all)" if len(unknown) > 1 else ""
                notice(
                    f"{new.where(unknown[0], name)} is {new.cells[name][unknown[0]]!r}, which no training row"
                    f" has{also}; it is predicted as an unknown category"
                )


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "none"
