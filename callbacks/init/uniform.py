"""Uniform init with one bound for all layers, whatever their width."""

import torch
from torch import Tensor, nn

from callbacks.init.scheme import InitScheme
from zoo.errors import ZooError


@torch.no_grad()
def uniform_(weight: Tensor, bound: float = 0.05) -> Tensor:
    """Fill with U(-bound, bound), whose variance is bound^2 / 3.

    The custom of the first decades; with a bound of 1 / sqrt(fan_in) it is the "commonly used heuristic" that Glorot
    and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010, eq. 1, compare with.
    """
    return nn.init.uniform_(weight, -bound, bound)


class Uniform(InitScheme):
    """Draw every weight from one uniform distribution.

    Args:
        bound: largest absolute value, > 0. It suits layers with about 3 / bound^2 inputs: 0.05 means 1,200 inputs.
            Smaller values let signals fade with depth, larger ones let them explode.
        layers, head_only: see InitScheme.
    """

    def __init__(self, bound: float = 0.05, layers: str | None = None, head_only: bool = False) -> None:
        super().__init__(layers, head_only)
        if not bound > 0:
            raise ZooError(f"Uniform: bound must be positive, got {bound}; for equal weights use Constant")
        self.bound = bound

    def init_(self, weight: Tensor) -> None:
        uniform_(weight, self.bound)
