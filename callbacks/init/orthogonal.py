"""Orthogonal init: every layer a random rotation, so that depth neither stretches nor shrinks a signal."""

import torch
from torch import Tensor, nn

from callbacks.init.scheme import InitScheme
from zoo.errors import ZooError


@torch.no_grad()
def orthogonal_(weight: Tensor, gain: float = 1.0) -> Tensor:
    """Fill with a random (semi-)orthogonal matrix: W W^T = g^2 I, or W^T W = g^2 I when there are more rows.

    The matrix is (out, in * kernel size); it is uniform among all such matrices. Saxe, McClelland and Ganguli, "Exact
    solutions to the nonlinear dynamics of learning in deep linear neural networks", 2014, section 3.
    """
    # torch's own function flattens by a view, which a weight in channels-last order does not have.
    matrix = torch.empty_like(weight, memory_format=torch.contiguous_format)
    return weight.copy_(nn.init.orthogonal_(matrix, gain))


class Orthogonal(InitScheme):
    """Keep all singular values of every layer equal.

    Args:
        gain: g > 0: all singular values. 1 for linear layers, tanh and recurrent weights; sqrt(2) = 1.414 for ReLU.
        layers, head_only: see InitScheme.
    """

    def __init__(self, gain: float = 1.0, layers: str | None = None, head_only: bool = False) -> None:
        super().__init__(layers, head_only)
        if not gain > 0:
            raise ZooError(f"Orthogonal: gain must be positive, got {gain}")
        self.gain = gain

    def init_(self, weight: Tensor) -> None:
        orthogonal_(weight, self.gain)
