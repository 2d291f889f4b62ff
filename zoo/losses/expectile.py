"""Expectiles: what the mean is to squared error, with over- and underestimates priced differently."""

import torch
from torch import Tensor

from zoo.losses.base import Reduction, RegressionLoss


class Expectile(RegressionLoss):
    """tau e^2 where the target lies above the prediction, (1 - tau) e^2 where it lies below.

    Source: Newey and Powell, "Asymmetric Least Squares Estimation and Testing", 1987, eq. 2.1.

    Args:
        tau: in (0, 1); 0.5 is half the squared error, and its minimum the mean; above it underestimates cost more.
        reduction: over samples and targets.
    """

    def __init__(self, tau: float = 0.5, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)
        self.require(0 < tau < 1, f"tau must lie in (0, 1), got {tau}")
        self.tau = tau

    def per_value(self, outputs: Tensor, target: Tensor) -> Tensor:
        error = target - outputs[..., 0]
        return torch.where(error > 0, self.tau, 1 - self.tau) * error**2
