"""Orthogonal state-to-state matrices, gate by gate: a state is turned from step to step, not stretched or shrunk."""

import torch
from torch import Tensor, nn

from callbacks.init.recurrent import RecurrentScheme
from zoo.errors import ZooError


@torch.no_grad()
def recurrent_orthogonal_(weight: Tensor, gates: int, gain: float = 1.0) -> Tensor:
    """Fill each gate's block of a state-to-state matrix with a random orthogonal one: W_g^T W_g = gain^2 I.

    Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear neural
    networks", 2014; for recurrent networks Le, Jaitly and Hinton 2015 and Henaff, Szlam and LeCun, "Recurrent
    orthogonal networks and long-memory tasks", 2016. Of the stacked matrix as a whole only the columns would be
    orthonormal, and each gate's block would shrink a state to 1 / sqrt(G) of its length in the mean.

    Args:
        weight: (G H, H), or (G H, P) in an LSTM whose states are projected to P <= H numbers.
        gates: G; 4 of an LSTM, 3 of a GRU, 1 of a plain layer.
        gain: all singular values of each block.
    """
    for block in weight.view(gates, -1, weight.shape[1]):
        nn.init.orthogonal_(block, gain)
    return weight


class RecurrentOrthogonal(RecurrentScheme):
    """Make W_hh of each gate orthogonal; input weights and biases stay as they are.

    Args:
        gain: all singular values, > 0; 1 keeps the length of a state in a linear network, and so gradients over many
            steps.
        layers: see RecurrentScheme.
    """

    def __init__(self, gain: float = 1.0, layers: str | None = None) -> None:
        super().__init__(layers)
        if not gain > 0:
            raise ZooError(f"RecurrentOrthogonal: gain must be positive, got {gain}")
        self.gain = gain

    def init_(self, weight: Tensor) -> None:
        recurrent_orthogonal_(weight, 1, self.gain)
