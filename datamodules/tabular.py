"""Small tables in memory: float features, standardised with what the training rows say and nothing else."""

from abc import abstractmethod
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.base import TensorSplit, ZooDataModule
from datamodules.checks import check_labels, check_values, stratified_split
from datamodules.raw_rows import RawRows
from datamodules.table_encoder import Table, TableEncoder
from zoo.preprocessing import Preprocessing
from zoo.randomness import permutation


class TabularDataModule(ZooDataModule):
    """Base of tables: 64 % of the rows are train, 16 % val, 20 % test; of every class where there are classes.

    A subclass states ``features`` and either ``classes`` or ``targets`` and returns the raw table from ``read``.
    A feature becomes ``(x - mean) / std`` with mean and std of the training rows; where it is constant in them it is
    only shifted. Targets stay in their own units.

    Args:
        batch_size: training rows in a step of one process, or "full" for gradient descent as the textbooks have it.
        split_seed: decides which rows are val and test; not the seed of the run, so that seeds share a split. With so
            few rows the test score depends on the split: give mean and spread over several split seeds, and choose
            nothing by the test rows of any of them.
        eval_batch_size, drop_last, num_workers: see ZooDataModule.
    """

    features: tuple[str, ...]
    classes: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()

    def __init__(
        self,
        batch_size: int | Literal["full"] = 32,
        split_seed: int = 0,
        eval_batch_size: int = 512,
        drop_last: bool = False,
        num_workers: int = 0,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, drop_last, num_workers)
        self.split_seed = split_seed

    @property
    def in_features(self) -> int:
        return len(self.features)

    @property
    def num_classes(self) -> int:
        return len(self.classes) if self.classes else super().num_classes

    @property
    def num_targets(self) -> int:
        return len(self.targets) if self.targets else super().num_targets

    @abstractmethod
    def read(self) -> tuple[Tensor, Tensor]:
        """All rows: float64 features (N, in_features); int64 labels (N,) or float targets (N,) or (N, num_targets)."""

    def load(self) -> dict[str, Dataset[Any]]:
        x, y = self.read()
        self.check(TensorSplit(x, y), type(self).__name__)  # here, where row numbers are those of the table
        rest, test = self._hold_out(y, torch.arange(len(y)), "test")
        train, val = self._hold_out(y, rest, "val")
        self._seen = x[train]
        mean, std = train_statistics(self._seen)
        x = ((x - mean) / std).float()
        y = y.float() if y.is_floating_point() else y
        return {name: TensorSplit(x[rows], y[rows]) for name, rows in (("train", train), ("val", val), ("test", test))}

    def preprocessing(self) -> Preprocessing | None:
        numbers = Table(self._seen.double().numpy(), np.empty((len(self._seen), 0), dtype=np.str_))
        encoder = TableEncoder("standard").fit(numbers, self.features)
        return RawRows.of(encoder, self.features, self.classes or self.targets)

    def check(self, split: Dataset[Any], where: str) -> None:
        super().check(split, where)
        if isinstance(split, TensorSplit):
            if self.classes:
                check_labels(split.y, len(self.classes), where)
            else:
                check_values(split.y, where)

    def _hold_out(self, y: Tensor, rows: Tensor, name: str) -> tuple[Tensor, Tensor]:
        """Part ``rows`` into (kept, a fifth held out)."""
        order = permutation(len(rows), self.split_seed, f"{name} split")
        if self.classes:
            kept, held_out = stratified_split(y[rows], 0.2, order)
        else:
            held_out, kept = order.tensor_split([round(0.2 * len(rows))])
            kept, held_out = kept.sort().values, held_out.sort().values
        return rows[kept], rows[held_out]


def train_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (divisor N) of each column, both (D,); a constant column gets a deviation of 1."""
    std = x.std(0, correction=0)
    return x.mean(0), std.where(std > 0, 1.0)
