"""L1 penalty: pull every weight towards zero with the same force."""

import torch
from torch import Tensor

from callbacks.regularizers.weights import WeightPenalty


def l1_norm(weights: list[Tensor]) -> Tensor:
    """Sum of |w| over all entries of all weights, a scalar; the gradient is sign(w), and 0 at 0."""
    return torch.stack([weight.abs().sum() for weight in weights]).sum()


class L1(WeightPenalty):
    """Adds ``strength * sum |w|`` to the loss, so that weights that are of little use shrink to almost zero.

    Tibshirani, "Regression shrinkage and selection via the lasso", 1996, eq. 1, in its Lagrangian form. With ``L2``
    beside it this is the elastic net: Zou and Hastie, "Regularization and variable selection via the elastic net",
    2005, eq. 3.

    Args:
        strength: 1e-6 to 1e-3; larger values empty the network.
        match: regular expression for names of parameters; empty for all.
        vectors: penalise biases and the gains of norms too.
    """

    def __init__(self, strength: float = 1e-5, match: str = "", vectors: bool = False) -> None:
        super().__init__(strength, match, vectors)

    def measure(self, weights: list[Tensor]) -> Tensor:
        return l1_norm(weights)
