"""Handwritten digits of 8 x 8 pixels that come with scikit-learn: nothing to download."""

import torch
from torch import Tensor

from datamodules.checks import stratified_split
from datamodules.images import ImageDataModule
from zoo.randomness import permutation


class Digits(ImageDataModule):
    """1,797 grey images of 8 x 8 pixels in 10 classes; 20 % are the test split, fixed for all runs.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (CC BY 4.0); the copy in
    scikit-learn is the test part of it.
    """

    channels, size = 1, 8
    classes = tuple("0123456789")
    mean, std = (0.3053,), (0.3763,)

    def read(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        from sklearn.datasets import load_digits  # takes half a second

        digits = load_digits()
        # Pixels count 0..16 dark dots; stretched to the full range of uint8.
        x = torch.from_numpy(digits.images * (255 / 16)).round().to(torch.uint8)[:, None]  # (N, 1, 8, 8)
        y = torch.from_numpy(digits.target).long()
        # The set has no test split of its own; this one is the same whatever --data.split_seed says.
        train, test = stratified_split(y, 0.2, permutation(len(y), "digits test split"))
        return (x[train], y[train]), (x[test], y[test])
