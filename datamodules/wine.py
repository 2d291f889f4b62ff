"""Wine: three cultivars told apart by chemistry, which comes with scikit-learn."""

import torch
from torch import Tensor

from datamodules.tabular import TabularDataModule


class Wine(TabularDataModule):
    """178 wines of one region of Italy, 13 measurements, 3 cultivars (59, 71 and 48 wines).

    Source: S. Aeberhard and M. Forina, Wine, UCI Machine Learning Repository, 1992 (CC BY 4.0); nothing to download.
    The features differ by a factor of a thousand, so it shows what standardising is for; then it is an easy set.

    Args:
        batch_size, split_seed, eval_batch_size, drop_last, num_workers: see TabularDataModule.
    """

    features = (
        "alcohol",
        "malic_acid",
        "ash",
        "alcalinity_of_ash",
        "magnesium",
        "total_phenols",
        "flavanoids",
        "nonflavanoid_phenols",
        "proanthocyanins",
        "color_intensity",
        "hue",
        "od280/od315_of_diluted_wines",
        "proline",
    )
    classes = ("class_0", "class_1", "class_2")

    def read(self) -> tuple[Tensor, Tensor]:
        from sklearn.datasets import load_wine  # takes half a second

        table = load_wine()
        return torch.from_numpy(table.data), torch.from_numpy(table.target).long()
