"""Gaussian dropout: multiply with noise instead of leaving out."""

import torch
from torch import Tensor

from zoo.layers.dropout import DropoutLayer


def gaussian_dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """x * e with e ~ N(1, p / (1 - p)), which has the mean and the variance of dropout at rate p.

    Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014, section 10.

    Args:
        x: any shape; every entry has noise of its own.
        p: in [0, 1).
        training: whether to do anything.
    """
    if p == 0 or not training:
        return x
    return x * torch.randn_like(x).mul_((p / (1 - p)) ** 0.5).add_(1)


class GaussianDropout(DropoutLayer):
    """``gaussian_dropout`` as a layer.

    Args:
        p: rate of the dropout with the same mean and variance, in [0, 1).
    """

    def forward(self, x: Tensor) -> Tensor:
        return gaussian_dropout(x, self.p, self.training)
