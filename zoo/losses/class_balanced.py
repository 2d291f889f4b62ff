"""Class-balanced weights: rare classes count more, by the effective number of their samples."""

import math

from torch import Tensor

from zoo.losses.base import PerClassLoss, Reduction
from zoo.losses.class_counts import ClassCounts
from zoo.losses.focal import Focal


def class_balanced_weights(counts: Tensor, beta: float) -> Tensor:
    """w_c in proportion to (1 - beta) / (1 - beta^n_c), with mean 1; counts n and weights are (C,).

    Source: Cui, Jia, Lin, Song and Belongie, "Class-Balanced Loss Based on Effective Number of Samples", 2019, eq. 2
    and section 4.
    """
    log_beta = math.log(beta) if beta else -math.inf
    weights = -1 / (counts * log_beta).expm1()
    return weights / weights.mean()


class ClassBalanced(PerClassLoss):
    """w_c times another loss, with w from the class counts of the training split.

    Args:
        beta: in [0, 1); 0 weighs all classes alike, near 1 by inverse frequency; 0.9 to 0.9999, about 1 - 1/n with n
            the samples of a class of middling size.
        loss: the loss to weigh, of those that are linear in the targets; cross-entropy by default.
        class_counts: training samples of each class; None to count them.
        reduction: over samples; "mean" divides by their number, not by the sum of their weights.
    """

    def __init__(
        self,
        beta: float = 0.999,
        loss: PerClassLoss | None = None,
        class_counts: list[int] | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(reduction)
        self.require(0 <= beta < 1, f"beta must lie in [0, 1), got {beta}")
        self.beta = beta
        self.loss = loss or Focal(gamma=0.0)
        self.counts = ClassCounts("ClassBalanced", class_counts)

    def set_num_classes(self, num_classes: int) -> None:
        self.counts.set_num_classes(num_classes)
        self.loss.set_num_classes(num_classes)

    def fit_targets(self, y: Tensor) -> None:
        self.counts.fit(y)
        self.loss.fit_targets(y)

    def probabilities(self, logits: Tensor) -> Tensor:
        return self.loss.probabilities(logits)

    def class_losses(self, logits: Tensor) -> Tensor:
        return class_balanced_weights(self.counts(), self.beta) * self.loss.class_losses(logits)
