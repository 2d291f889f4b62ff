"""Gaussian likelihood: a mean and a variance for every target."""

import math
from statistics import NormalDist

import torch.nn.functional as F
from torch import Tensor

from zoo.losses.base import Reduction, RegressionLoss, check_coverage


class GaussianNLL(RegressionLoss):
    """(log(2 pi v) + (y - m)^2 / v) / 2 with the outputs m and v = softplus(raw) + min_variance.

    In units of standardised targets: add log(std) for the likelihood in original units.

    Source: Nix and Weigend, "Estimating the mean and variance of the target probability distribution", 1994, eq. 1.

    Args:
        min_variance: positive, in squared standard deviations of the targets; keeps a sample that is fitted exactly
            from taking over.
        reduction: over samples and targets.
    """

    def __init__(self, min_variance: float = 1e-4, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)
        self.require(min_variance > 0, f"min_variance must be positive, got {min_variance}")
        self.min_variance = min_variance

    @property
    def outputs_per_target(self) -> int:
        return 2

    def variance(self, outputs: Tensor) -> Tensor:
        """v of raw outputs (..., 2), in squared standard deviations of the targets, (...)."""
        return F.softplus(outputs[..., 1]) + self.min_variance

    def per_value(self, outputs: Tensor, target: Tensor) -> Tensor:
        variance = self.variance(outputs)
        return 0.5 * ((2 * math.pi * variance).log() + (target - outputs[..., 0]) ** 2 / variance)

    @property
    def usual_coverage(self) -> float:
        return 0.9

    def interval(self, outputs: Tensor, coverage: float) -> tuple[Tensor, Tensor]:
        check_coverage(coverage)
        half = NormalDist().inv_cdf((1 + coverage) / 2) * self.variance(outputs).sqrt()
        return outputs[..., 0] - half, outputs[..., 0] + half


class BetaNLL(GaussianNLL):
    """Gaussian likelihood times v^beta, through which no gradient flows: badly fitted samples are not given up.

    Plain likelihood divides the gradient of the mean by v, so that a sample with a large v is hardly learnt from.
    Values of different beta, and those of GaussianNLL, cannot be compared.

    Source: Seitzer, Tavakoli, Antic and Martius, "On the Pitfalls of Heteroscedastic Uncertainty Estimation with
    Probabilistic Neural Networks", 2022, eq. 5.

    Args:
        beta: in [0, 1]; 0 is GaussianNLL, 1 gives the mean the gradient of squared error, 0.5 is the paper's choice.
        min_variance: see GaussianNLL.
        reduction: over samples and targets.
    """

    def __init__(self, beta: float = 0.5, min_variance: float = 1e-4, reduction: Reduction = "mean") -> None:
        super().__init__(min_variance, reduction)
        self.require(0 <= beta <= 1, f"beta must lie in [0, 1], got {beta}")
        self.beta = beta

    def per_value(self, outputs: Tensor, target: Tensor) -> Tensor:
        return super().per_value(outputs, target) * self.variance(outputs).detach() ** self.beta
