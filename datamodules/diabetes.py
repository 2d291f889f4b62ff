"""Diabetes progression: the classic small regression table, which comes with scikit-learn."""

import torch
from torch import Tensor

from datamodules.tabular import TabularDataModule


class Diabetes(TabularDataModule):
    """442 patients, 10 measurements, and how far the disease had come a year later (25 to 346, no unit).

    Source: Efron, Hastie, Johnstone and Tibshirani, "Least angle regression", 2004 (no licence stated); nothing to
    download. Much of the target is noise: a network soon does worse than linear regression unless it is small.

    Args:
        batch_size, split_seed, eval_batch_size, drop_last, num_workers: see TabularDataModule.
    """

    features = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")
    targets = ("progression",)

    def read(self) -> tuple[Tensor, Tensor]:
        from sklearn.datasets import load_diabetes  # takes half a second

        table = load_diabetes(scaled=False)  # raw: scikit-learn's own scaling has seen the test rows
        return torch.from_numpy(table.data), torch.from_numpy(table.target)
