"""Breast cancer (Wisconsin, diagnostic): malignant or benign from cell nuclei, which comes with scikit-learn."""

import torch
from torch import Tensor

from datamodules.tabular import TabularDataModule

_QUANTITIES = (
    "radius",
    "texture",
    "perimeter",
    "area",
    "smoothness",
    "compactness",
    "concavity",
    "concave points",
    "symmetry",
    "fractal dimension",
)


class BreastCancer(TabularDataModule):
    """569 tumours, 30 measurements of their cell nuclei, 2 classes (212 malignant, 357 benign).

    Source: Wolberg, Mangasarian, Street and Street, Breast Cancer Wisconsin (Diagnostic), UCI Machine Learning
    Repository, 1993 (CC BY 4.0); nothing to download. Each of ten quantities comes as mean, standard error and worst.

    Args:
        batch_size, split_seed, eval_batch_size, drop_last, num_workers: see TabularDataModule.
    """

    features = (
        *(f"mean {quantity}" for quantity in _QUANTITIES),
        *(f"{quantity} error" for quantity in _QUANTITIES),
        *(f"worst {quantity}" for quantity in _QUANTITIES),
    )
    classes = ("malignant", "benign")

    def read(self) -> tuple[Tensor, Tensor]:
        from sklearn.datasets import load_breast_cancer  # takes half a second

        table = load_breast_cancer()
        return torch.from_numpy(table.data), torch.from_numpy(table.target).long()
