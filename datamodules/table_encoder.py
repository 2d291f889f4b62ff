"""From a table as people keep it to numbers that networks take, with what the training rows say and nothing else."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.errors import DataError

Scaling: TypeAlias = Literal["standard", "quantile"]
Categories: TypeAlias = Literal["codes", "one_hot"]
Floats: TypeAlias = NDArray[np.float64]

UNKNOWN = 0
"""The code of a category that no training row has."""
_LANDMARKS = 1000


class Table(NamedTuple):
    """Raw features of N rows.

    Attributes:
        numbers: float64 (N, n); NaN is a missing value.
        categories: text (N, c); the empty string is a missing value.
    """

    numbers: Floats
    categories: NDArray[np.str_]

    def take(self, rows: Tensor) -> "Table":
        """The rows with these indices."""
        return Table(self.numbers[rows.numpy()], self.categories[rows.numpy()])


class TableEncoder:
    """Scaled numbers, then flags of missing numbers, then categories; learned from the rows given to ``fit``.

    - A number becomes (x - mean) / std, or under "quantile" Phi^-1(F(x)) with the mid-rank distribution function
      F(x) = (#{x_i < x} + #{x_i = x} / 2) / N, so that equal values stay equal without noise; between the values that
      were seen it is interpolated, beyond them it stays at the outermost. A constant column becomes 0.
    - A missing number takes the median, and one flag (0 or 1) is added for each column that lacks values in ``fit``.
    - A category becomes a code from 1 on, in alphabetical order, or a row of a one-hot matrix. Code 0 (a row of zeros)
      stands for values that were not seen. A missing category is a value like any other where ``fit`` has seen it.

    Args:
        scaling: of the numbers; "quantile" tames long tails, and forgets how far out an extreme value lies.
        categories: "codes" for networks that embed them; "one_hot" for those that take plain numbers.
    """

    def __init__(self, scaling: Scaling = "standard", categories: Categories = "codes") -> None:
        self.scaling, self.categories = scaling, categories
        self.medians: list[float] = []
        self.flagged: list[int] = []
        self.landmarks: list[tuple[Floats, Floats]] = []  # of each number: raw values, and what they become
        self.vocabulary: list[list[str]] = []

    @property
    def num_numerical(self) -> int:
        """Columns that are numbers: scaled ones, flags and one-hot columns."""
        one_hot = sum(len(known) for known in self.vocabulary) if self.categories == "one_hot" else 0
        return len(self.medians) + len(self.flagged) + one_hot

    @property
    def cardinalities(self) -> list[int]:
        """Codes of each column behind the numbers, the unknown one included; empty under "one_hot"."""
        return [len(known) + 1 for known in self.vocabulary] if self.categories == "codes" else []

    def fit(self, table: Table, names: Sequence[str] = ()) -> "TableEncoder":
        """Learn medians, scales and categories; returns itself.

        Args:
            table: the training rows.
            names: of its columns, numbers first, for messages.

        Raises:
            DataError: a number column without values in these rows.
        """
        missing = np.isnan(table.numbers)
        empty = np.flatnonzero(missing.all(0))
        if len(empty):
            which = repr(names[empty[0]]) if names else f"{empty[0]} (counted from 0)"
            raise DataError(f"number column {which} has no value in any training row; leave it out")
        self.medians = np.nanmedian(table.numbers, 0).tolist() if missing.shape[1] else []
        self.flagged = np.flatnonzero(missing.any(0)).tolist()
        make = _standard if self.scaling == "standard" else _quantile
        self.landmarks = [make(column) for column in self._filled(table.numbers).T]
        self.vocabulary = [sorted(set(column.tolist())) for column in table.categories.T]
        return self

    def encode(self, table: Table) -> Tensor:
        """Float32 (N, num_numerical + len(cardinalities)); codes are floats as well."""
        flags = np.isnan(table.numbers)[:, self.flagged]
        scaled = [
            _follow(column, known) if self.scaling == "quantile" else (column - known[0][0]) / known[1][0]
            for column, known in zip(self._filled(table.numbers).T, self.landmarks, strict=True)
        ]
        codes = [_codes(column, known) for column, known in zip(table.categories.T, self.vocabulary, strict=True)]
        if self.categories == "one_hot":
            codes = [np.arange(1, len(known) + 1) == code[:, None] for code, known in zip(codes, self.vocabulary)]
        columns = [np.column_stack([part]) for part in (*scaled, flags, *codes)]
        return torch.from_numpy(np.concatenate(columns, 1).astype(np.float32))

    def state_dict(self) -> dict[str, Any]:
        """What was learned, as plain lists and tensors."""
        return {
            "scaling": self.scaling,
            "categories": self.categories,
            "medians": list(self.medians),
            "flagged": list(self.flagged),
            "landmarks": [[torch.from_numpy(raw), torch.from_numpy(scaled)] for raw, scaled in self.landmarks],
            "vocabulary": [list(known) for known in self.vocabulary],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what another encoder has learned."""
        self.scaling, self.categories = state["scaling"], state["categories"]
        self.medians, self.flagged = list(state["medians"]), list(state["flagged"])
        self.landmarks = [(raw.cpu().numpy(), scaled.cpu().numpy()) for raw, scaled in state["landmarks"]]
        self.vocabulary = [list(known) for known in state["vocabulary"]]

    def _filled(self, numbers: Floats) -> Floats:
        return np.where(np.isnan(numbers), np.asarray(self.medians, dtype=np.float64), numbers)


def _standard(column: Floats) -> tuple[Floats, Floats]:
    """([mean], [std]) with divisor N; a constant column gets a deviation of 1."""
    return np.array([column.mean()]), np.array([column.std() or 1.0])


def _quantile(column: Floats) -> tuple[Floats, Floats]:
    """Values that occur, at most 1,000 of them, and Phi^-1 of their mid-rank."""
    values, counts = np.unique(column, return_counts=True)
    middle = (np.cumsum(counts) - counts / 2) / len(column)
    if len(values) > _LANDMARKS:
        # As many training rows between one landmark and the next; the first and the last value among them.
        chosen = np.unique(np.searchsorted(middle, np.linspace(middle[0], middle[-1], _LANDMARKS)))
        values, middle = values[chosen], middle[chosen]
    return values, torch.special.ndtri(torch.from_numpy(middle)).numpy()


def _follow(column: Floats, landmarks: tuple[Floats, Floats]) -> Floats:
    return np.interp(column, *landmarks)


def _codes(column: NDArray[np.str_], known: Sequence[str]) -> NDArray[np.int64]:
    code = {value: number for number, value in enumerate(known, 1)}
    return np.array([code.get(value, UNKNOWN) for value in column.tolist()], dtype=np.int64)
