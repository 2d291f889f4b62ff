"""Tables of numbers and categories, with missing values: encoded by what the training rows say."""

from abc import abstractmethod
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.base import TensorSplit
from datamodules.raw_rows import RawRows
from datamodules.table_encoder import Categories, Scaling, Table, TableEncoder
from datamodules.tabular import TabularDataModule
from zoo.errors import DataError
from zoo.preprocessing import Preprocessing


class MixedTableDataModule(TabularDataModule):
    """Base of tables that ``TableEncoder`` encodes; a sample is one float vector, category codes at its end.

    A subclass states ``features`` and either ``classes`` or ``targets`` and returns the raw table from ``read_table``.
    The table is read when a fact is first asked for, because the number of columns and of categories depends on the
    training rows. What was learned from them travels in the checkpoint, so that new rows are encoded as the network
    was trained.

    Args:
        batch_size: training rows in a step of one process, or "full".
        scaling, categories: see TableEncoder; a network without embeddings wants "one_hot".
        split_seed: decides which rows are val and test; not the seed of the run, so that seeds share a split.
        eval_batch_size, drop_last: see ZooDataModule.
    """

    def __init__(
        self,
        batch_size: int | Literal["full"] = 256,
        scaling: Scaling = "quantile",
        categories: Categories = "codes",
        split_seed: int = 0,
        eval_batch_size: int = 1024,
        drop_last: bool = False,
    ) -> None:
        super().__init__(batch_size, split_seed, eval_batch_size, drop_last)
        self.scaling, self.categories = scaling, categories

    @property
    def in_features(self) -> int:
        return self.encoder.num_numerical + len(self.encoder.cardinalities)

    @property
    def num_numerical(self) -> int:
        """Columns of a sample that are numbers; the others, behind them, are category codes."""
        return self.encoder.num_numerical

    @property
    def cardinalities(self) -> list[int]:
        """Number of codes of each category column, the unknown code 0 included; [] under categories="one_hot"."""
        return self.encoder.cardinalities

    @property
    def train_inputs(self) -> Tensor:
        """Encoded training rows, (N, in_features), from which embeddings learn where the values lie."""
        split = self.splits["train"]
        assert isinstance(split, TensorSplit)
        return split.x

    @abstractmethod
    def read_table(self) -> tuple[Table, Tensor]:
        """All rows: raw features, and int64 labels (N,) or float targets (N,)."""

    def part(self, y: Tensor) -> dict[str, Tensor]:
        """Rows of "train", "val" and "test": 64, 16 and 20 % of all, of every class where there are classes."""
        rest, test = self._hold_out(y, torch.arange(len(y)), "test")
        train, val = self._hold_out(y, rest, "val")
        return {"train": train, "val": val, "test": test}

    @cached_property
    def table(self) -> tuple[Table, Tensor]:
        """Raw features and targets of all rows, read once and checked."""
        table, y = self.read_table()
        infinite = np.argwhere(np.isinf(table.numbers))
        if len(infinite):
            row, column = infinite[0].tolist()
            raise DataError(f"{type(self).__name__}: sample {row} is infinite at {column}; remove it or fill the gap")
        super().check(TensorSplit(y, y), type(self).__name__)  # here, where row numbers are those of the table
        return table, y

    @cached_property
    def rows(self) -> dict[str, Tensor]:
        """Which rows of the table each split has."""
        return self.part(self.table[1])

    @cached_property
    def encoder(self) -> TableEncoder:
        """The encoder, which has seen the training rows."""
        return TableEncoder(self.scaling, self.categories).fit(self.table[0].take(self.rows["train"]), self.features)

    def read(self) -> tuple[Tensor, Tensor]:
        """All rows, encoded."""
        table, y = self.table
        return self.encoder.encode(table), y

    def load(self) -> dict[str, Dataset[Any]]:
        x, y = self.read()
        y = y.float() if y.is_floating_point() else y
        return {name: TensorSplit(x[rows], y[rows]) for name, rows in self.rows.items()}

    def preprocessing(self) -> Preprocessing | None:
        return RawRows.of(self.encoder, self.features, self.classes or self.targets)

    def state_dict(self) -> dict[str, Any]:
        """Adds what the network's inputs and outputs mean."""
        names = {"features": list(self.features), "classes": list(self.classes)}
        return {**super().state_dict(), **names, "encoder": self.encoder.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Encode as the network was trained, and refuse other columns or classes than it was trained on."""
        super().load_state_dict(state)
        for name, own in (("features", self.features), ("classes", self.classes)):
            if list(own) != state[name]:
                raise DataError(
                    f"{type(self).__name__}: the checkpoint has the {name} {', '.join(state[name])}; this table has"
                    f" {', '.join(own)}"
                )
        self.encoder.load_state_dict(state["encoder"])
        if self.splits:  # they were encoded before the checkpoint was read
            self.splits = self.load()
