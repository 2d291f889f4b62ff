"""Laplace likelihood: absolute error with a scale for every target."""

import math

import torch.nn.functional as F
from torch import Tensor

from zoo.losses.base import Reduction, RegressionLoss, check_coverage


class LaplaceNLL(RegressionLoss):
    """log(2 b) + |y - m| / b with the outputs m, the median, and b = softplus(raw) + min_scale.

    In units of standardised targets: add log(std) for the likelihood in original units.

    Args:
        min_scale: positive, in standard deviations of the targets; keeps a sample that is fitted exactly from taking
            over.
        reduction: over samples and targets.
    """

    def __init__(self, min_scale: float = 1e-2, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)
        self.require(min_scale > 0, f"min_scale must be positive, got {min_scale}")
        self.min_scale = min_scale

    @property
    def outputs_per_target(self) -> int:
        return 2

    def scale(self, outputs: Tensor) -> Tensor:
        """b of raw outputs (..., 2), in standard deviations of the targets, (...)."""
        return F.softplus(outputs[..., 1]) + self.min_scale

    def per_value(self, outputs: Tensor, target: Tensor) -> Tensor:
        scale = self.scale(outputs)
        return (2 * scale).log() + (target - outputs[..., 0]).abs() / scale

    @property
    def usual_coverage(self) -> float:
        return 0.9

    def interval(self, outputs: Tensor, coverage: float) -> tuple[Tensor, Tensor]:
        check_coverage(coverage)
        half = -math.log(1 - coverage) * self.scale(outputs)
        return outputs[..., 0] - half, outputs[..., 0] + half
