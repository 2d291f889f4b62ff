"""Poly-1: cross-entropy with another weight on the first term of its series."""

from torch import Tensor

from zoo.losses.base import PerClassLoss, Reduction


class Poly1(PerClassLoss):
    """l_c = -log p_c + epsilon (1 - p_c).

    -log p is the sum of (1 - p)^j / j; epsilon is added to the weight of j = 1, whose gradient does not fade as p
    comes near 1.

    Source: Leng et al., "PolyLoss: A Polynomial Expansion Perspective of Classification Loss Functions", 2022, eq. 3.

    Args:
        epsilon: at least -1; 0 is cross-entropy, 1 to 2 usual for images, -1 drops the first term.
        reduction: over samples.
    """

    def __init__(self, epsilon: float = 1.0, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)
        self.require(epsilon >= -1, f"epsilon must be at least -1, got {epsilon}")
        self.epsilon = epsilon

    def class_losses(self, logits: Tensor) -> Tensor:
        log_p = logits.log_softmax(1)
        return -log_p - self.epsilon * log_p.expm1()
