"""Logit adjustment: a long-tailed training split, a prediction that gives every class the same chance."""

from torch import Tensor

from zoo.losses.base import PerClassLoss, Reduction
from zoo.losses.class_counts import ClassCounts


class LogitAdjusted(PerClassLoss):
    """l_c = -log softmax(z + tau log pi)_c, with pi the class frequencies of the training split.

    The adjustment is made in training only: the plain softmax of z is then the class posterior under equal priors.

    Source: Menon et al., "Long-tail learning via logit adjustment", 2021, eq. 10.

    Args:
        tau: at least 0; 0 is cross-entropy, 1 is consistent for the balanced error.
        class_counts: training samples of each class; None to count them.
        reduction: over samples.
    """

    def __init__(self, tau: float = 1.0, class_counts: list[int] | None = None, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)
        self.require(tau >= 0, f"tau must be at least 0, got {tau}")
        self.tau = tau
        self.counts = ClassCounts("LogitAdjusted", class_counts)

    def set_num_classes(self, num_classes: int) -> None:
        self.counts.set_num_classes(num_classes)

    def fit_targets(self, y: Tensor) -> None:
        self.counts.fit(y)

    def class_losses(self, logits: Tensor) -> Tensor:
        counts = self.counts()
        return -(logits + self.tau * (counts / counts.sum()).log()).log_softmax(1)
