"""Reversible instance normalisation: each window is brought to mean 0 and deviation 1, its forecast back again."""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn


class Statistics(NamedTuple):
    """Mean and standard deviation of each window and channel, (B, 1, C) each."""

    mean: Tensor
    std: Tensor


class RevIN(nn.Module):
    """z = gamma (x - mean) / std + beta with the statistics of the window itself; ``denormalize`` turns it round.

    It takes shifts of level and scale between training and test out of the network's sight. No gradient flows through
    the statistics.

    Source: Kim et al., "Reversible Instance Normalization for Accurate Time-Series Forecasting against Distribution
    Shift", 2022.

    Args:
        channels: C.
        affine: learn gamma and beta, one for each channel, beginning with 1 and 0.
        eps: added to the variance; also bounds how much a constant window is blown up.
    """

    def __init__(self, channels: int, affine: bool = True, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.gamma = nn.Parameter(torch.ones(channels)) if affine else None
        self.beta = nn.Parameter(torch.zeros(channels)) if affine else None

    def statistics(self, x: Tensor) -> Statistics:
        """Of windows (B, T, C), over T."""
        var, mean = torch.var_mean(x.detach(), 1, correction=0, keepdim=True)
        return Statistics(mean, (var + self.eps).sqrt())

    def normalize(self, x: Tensor, statistics: Statistics) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        z = (x - statistics.mean) / statistics.std
        return z if self.gamma is None else z * self.gamma + cast(Tensor, self.beta)

    def denormalize(self, z: Tensor, statistics: Statistics) -> Tensor:
        """(B, H, C) -> (B, H, C), with the statistics of the windows that z was made from."""
        if self.gamma is not None:
            # The authors' guard against a gamma of exactly 0.
            z = (z - cast(Tensor, self.beta)) / (self.gamma + self.eps**2)
        return z * statistics.std + statistics.mean
