"""Rows of a table as people have them: dictionaries, frames, arrays."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules.csv_table import MISSING
from datamodules.table_encoder import Categories, Scaling, Table, TableEncoder
from zoo.errors import DataError
from zoo.preprocessing import Preprocessing


@dataclass(frozen=True)
class RawRows(Preprocessing):
    """Encoded rows (N, in_features) from a dictionary or a list of them, a data frame, or an array in column order.

    None, NaN, "", "?", "NA" and "null" are missing values. A category that no training row has is an unknown one.

    Args:
        outputs: names of the classes or targets.
        columns: all features, numbers first.
        scaling, categories: see TableEncoder.
        medians: of the number columns, (n,).
        flagged: number columns that have a flag for missing values.
        landmarks: raw values and what they become, (2, L), of all number columns end to end.
        landmark_counts: how many each number column has.
        vocabulary: of each category column.
    """

    columns: tuple[str, ...]
    scaling: Scaling
    categories: Categories
    medians: tuple[float, ...]
    flagged: tuple[int, ...]
    landmarks: Tensor
    landmark_counts: tuple[int, ...]
    vocabulary: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, encoder: TableEncoder, columns: Sequence[str], outputs: Sequence[str]) -> "RawRows":
        """What an encoder has learned."""
        state = encoder.state_dict()
        pairs = [torch.stack([raw, scaled]) for raw, scaled in state["landmarks"]]
        return cls(
            tuple(outputs), tuple(columns), encoder.scaling, encoder.categories, tuple(state["medians"]),
            tuple(state["flagged"]), torch.cat(pairs, 1) if pairs else torch.empty(2, 0, dtype=torch.float64),
            tuple(pair.shape[1] for pair in pairs), tuple(tuple(known) for known in state["vocabulary"]),
        )  # fmt: skip

    def encoder(self) -> TableEncoder:
        """The encoder that ``of`` was given."""
        encoder = TableEncoder(self.scaling, self.categories)
        encoder.load_state_dict(
            {
                "scaling": self.scaling,
                "categories": self.categories,
                "medians": self.medians,
                "flagged": self.flagged,
                "landmarks": [part.unbind(0) for part in self.landmarks.split(list(self.landmark_counts), 1)],
                "vocabulary": self.vocabulary,
            }
        )
        return encoder

    def __call__(self, raw: Any) -> tuple[Tensor, None]:
        rows = self.rows(raw)
        numbers, n = np.empty((len(rows), len(self.medians))), len(self.medians)
        words = np.empty((len(rows), len(self.columns) - n), dtype=object)
        for place, row in enumerate(rows):
            numbers[place] = [self._number(value, place, name) for value, name in zip(row[:n], self.columns)]
            words[place] = ["" if _is_missing(value) else str(value) for value in row[n:]]
        return self.encoder().encode(Table(numbers, words.astype(np.str_))), None

    def rows(self, raw: Any) -> list[list[Any]]:
        """The cells of each row, in the order of ``columns``."""
        if hasattr(raw, "to_dict") and hasattr(raw, "columns"):  # a frame of pandas
            raw = raw.to_dict("records")
        elif hasattr(raw, "to_dicts"):  # of polars
            raw = raw.to_dicts()
        if isinstance(raw, Mapping):
            raw = [raw]
        if isinstance(raw, np.ndarray | Tensor):
            raw = (raw[None] if raw.ndim == 1 else raw).tolist()
        if not isinstance(raw, Sequence) or isinstance(raw, str) or not raw:
            raise DataError(
                f"rows are dictionaries, a data frame, or an array with the columns {', '.join(self.columns)}; got"
                f" {type(raw).__name__}"
            )
        if not isinstance(raw[0], Mapping | Sequence | np.ndarray) or isinstance(raw[0], str):
            raw = [raw]  # the cells of one row
        return [self._row(row, place) for place, row in enumerate(raw)]

    def _row(self, row: Any, place: int) -> list[Any]:
        if isinstance(row, Mapping):
            absent = [name for name in self.columns if name not in row]
            if absent:
                raise DataError(f"row {place} has no {absent[0]!r}; give it, or None where it is not known")
            return [row[name] for name in self.columns]
        if len(row) != len(self.columns):
            raise DataError(f"row {place} has {len(row)} cells; the columns are {', '.join(self.columns)}")
        return list(row)

    def _number(self, value: Any, place: int, name: str) -> float:
        if _is_missing(value):
            return math.nan
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise DataError(f"row {place}, {name!r}: {value!r} is no number") from None
        if math.isinf(number):
            raise DataError(f"row {place}, {name!r} is infinite; correct it, or give None")
        return number


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value.strip().lower() in MISSING) or value != value
