"""Generalised cross-entropy: between cross-entropy and mean absolute error, for labels that may be wrong."""

from torch import Tensor

from zoo.losses.base import PerClassLoss, Reduction


class GeneralizedCrossEntropy(PerClassLoss):
    """l_c = (1 - p_c^q) / q.

    Source: Zhang and Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels",
    2018, eq. 6 (without the truncation of section 3.3).

    Args:
        q: in [0, 1]; 0 is cross-entropy (the limit), 1 is 1 - p, half the absolute error of p, which noise moves
            least and which learns slowest; the paper takes 0.7.
        reduction: over samples.
    """

    def __init__(self, q: float = 0.7, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)
        self.require(0 <= q <= 1, f"q must lie in [0, 1], got {q}")
        self.q = q

    def class_losses(self, logits: Tensor) -> Tensor:
        log_p = logits.log_softmax(1)
        return -(self.q * log_p).expm1() / self.q if self.q else -log_p
