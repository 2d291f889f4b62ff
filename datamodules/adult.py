"""Adult: a table of numbers and categories, 48,842 rows, that comes with the project."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datamodules.checks import stratified_split
from datamodules.mixed_table import MixedTableDataModule
from datamodules.table_encoder import Table
from zoo.randomness import permutation

_FILE = Path(__file__).parent / "embedded" / "adult.npz"
_TRAIN_ROWS = 32_561
_VAL_FRACTION = 0.16


class Adult(MixedTableDataModule):
    """Who earns more than 50,000 $ a year, by the US census of 1994: 6 numbers, 8 categories; 24 % do.

    The test split is the 16,281 rows of the original test file; 16 % of the 32,561 others, of either class, are held
    out for validation. Values given as "?" (work class, occupation, country) are missing.

    Source: Becker and Kohavi, "Adult", UCI Machine Learning Repository, 1996 (CC BY 4.0); nothing to download.

    Args:
        batch_size, scaling, categories, eval_batch_size, drop_last: see MixedTableDataModule.
        split_seed: decides which training rows are val.
    """

    features = (
        *("age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week"),
        *("workclass", "education", "marital-status", "occupation"),
        *("relationship", "race", "sex", "native-country"),
    )
    classes = ("<=50K", ">50K")

    def read_table(self) -> tuple[Table, Tensor]:
        with np.load(_FILE, allow_pickle=False) as stored:
            numbers, codes = stored["numbers"].astype(np.float64), stored["codes"]
            words = [stored[f"values_{column}"][codes[:, column]] for column in range(codes.shape[1])]
            y = torch.from_numpy(stored["y"]).long()
        categories = np.stack(words, 1)
        return Table(numbers, np.where(categories == "?", "", categories)), y

    def part(self, y: Tensor) -> dict[str, Tensor]:
        """Rows of "train", "val" and "test"; the last are those of the original file."""
        order = permutation(_TRAIN_ROWS, self.split_seed, "val split")
        train, val = stratified_split(y[:_TRAIN_ROWS], _VAL_FRACTION, order)
        return {"train": train, "val": val, "test": torch.arange(_TRAIN_ROWS, len(y))}
