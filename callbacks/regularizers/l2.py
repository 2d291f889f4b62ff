"""L2 penalty: pull every weight towards zero with a force that grows with the weight."""

import torch
from torch import Tensor

from callbacks.regularizers.weights import WeightPenalty


def half_squared_norm(weights: list[Tensor]) -> Tensor:
    """Half the sum of w^2 over all entries of all weights, a scalar; the gradient is w."""
    return torch.stack([weight.square().sum() for weight in weights]).sum() / 2


class L2(WeightPenalty):
    """Adds ``strength / 2 * sum w^2`` to the loss; with plain SGD that is weight decay of the same strength.

    Hoerl and Kennard, "Ridge regression", 1970; Krogh and Hertz, "A simple weight decay can improve generalization",
    1991, eq. 1. Adaptive optimizers divide this gradient by its own size too, which the decay of AdamW avoids
    (Loshchilov and Hutter 2019).

    Args:
        strength: 1e-5 to 1e-3; larger values keep the network from fitting.
        match: regular expression for names of parameters; empty for all.
        vectors: penalise biases and the gains of norms too.
    """

    def __init__(self, strength: float = 1e-4, match: str = "", vectors: bool = False) -> None:
        super().__init__(strength, match, vectors)

    def measure(self, weights: list[Tensor]) -> Tensor:
        return half_squared_norm(weights)
