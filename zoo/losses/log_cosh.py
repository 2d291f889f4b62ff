"""Log-cosh: squared error nearby, absolute error far away, smooth everywhere."""

import math

import torch.nn.functional as F
from torch import Tensor

from zoo.losses.base import Reduction, RegressionLoss


class LogCosh(RegressionLoss):
    """log cosh(e / d) d^2 with the error e: about e^2 / 2 below d, about d |e| above.

    Args:
        delta: d, positive, in standard deviations of the targets: where an error starts to be an outlier.
        reduction: over samples and targets.
    """

    def __init__(self, delta: float = 1.0, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)
        self.require(delta > 0, f"delta must be positive, got {delta}")
        self.delta = delta

    def per_value(self, outputs: Tensor, target: Tensor) -> Tensor:
        x = (outputs[..., 0] - target) / self.delta
        return self.delta**2 * (x + F.softplus(-2 * x) - math.log(2))  # = log cosh x, without its overflow
