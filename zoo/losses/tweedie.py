"""Tweedie deviance: counts, claims, rainfall; targets that are never negative and often zero."""

import torch
from torch import Tensor

from zoo.errors import DataError
from zoo.losses.base import Reduction, RegressionLoss


def check_not_negative(y: Tensor, where: str, loss: str, zero: bool = True) -> None:
    """Raise DataError naming the first sample with a target below zero, or at zero where that is not taken either."""
    wrong = (y < 0 if zero else y <= 0).nonzero()
    if len(wrong):
        sample = int(wrong[0, 0])
        bound = "of at least 0" if zero else "above 0"
        raise DataError(
            f"{where}: sample {sample} has the target {float(y[sample].min()):g}; {loss} takes values {bound}"
        )


class Tweedie(RegressionLoss):
    """Unit deviance of a Tweedie distribution with variance ~ mean^power, of mean = exp(output).

    2 (y^(2-p) / ((1-p)(2-p)) - y m^(1-p) / (1-p) + m^(2-p) / (2-p)), with its limits at p = 1 and 2; 0 where the mean
    m equals y. Targets are divided by their mean, never shifted.

    Source: Jorgensen, "Exponential Dispersion Models", 1987, section 4.

    Args:
        power: p in [1, 2]; 1 is Poisson, 2 is gamma (targets above 0), between them a mass at zero and a tail; 1.5
            is a good start.
        reduction: over samples and targets.
    """

    shifts_targets = False

    def __init__(self, power: float = 1.5, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)
        self.require(1 <= power <= 2, f"power must lie in [1, 2], got {power}")
        self.power = power

    def check_targets(self, y: Tensor, where: str) -> None:
        check_not_negative(y, where, f"Tweedie with power {self.power:g}", zero=self.power < 2)

    def per_value(self, outputs: Tensor, target: Tensor) -> Tensor:
        log_mean, p = outputs[..., 0], self.power
        if p == 1:
            return 2 * (torch.xlogy(target, target) - target * log_mean - target + log_mean.exp())
        if p == 2:
            return 2 * (log_mean - target.log() + target * (-log_mean).exp() - 1)
        constant = target ** (2 - p) / ((1 - p) * (2 - p))
        return 2 * (constant - target * ((1 - p) * log_mean).exp() / (1 - p) + ((2 - p) * log_mean).exp() / (2 - p))

    def point(self, outputs: Tensor) -> Tensor:
        return outputs[..., 0].exp()
