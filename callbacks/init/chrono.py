"""Chrono init: gates whose time constants are spread over the dependencies that the data may have."""

import torch
from torch import Tensor

from callbacks.init.recurrent import GateBias
from zoo.errors import ZooError


@torch.no_grad()
def chrono_(keep: Tensor, write: Tensor | None, longest: int) -> Tensor:
    """b_f = log u with u ~ U[1, longest - 1] for each unit, and b_i = -b_f where writing has a gate of its own.

    A unit then forgets after about u + 1 steps, for sigmoid(log u) = 1 - 1 / (u + 1). Tallec and Ollivier, "Can
    recurrent neural networks warp time?", 2018, section 3.

    Args:
        keep: biases of the gate that keeps the state, (H,), filled in place.
        write: biases of the gate that lets in what is new, (H,); None where that is 1 minus the other one (GRU).
        longest: T_max, steps of the longest dependency, at least 3.

    Returns:
        ``keep``.
    """
    keep.uniform_(1, longest - 1).log_()
    if write is not None:
        write.copy_(-keep)
    return keep


class Chrono(GateBias):
    """Give the units of an LSTM or GRU memories of all lengths up to that of the longest dependency.

    Args:
        longest: steps over which something may matter, at least 3; the length of the sequences, or of the window, where
            nothing better is known.
        layers: see RecurrentScheme.
    """

    writes = True

    def __init__(self, longest: int = 100, layers: str | None = None) -> None:
        super().__init__(layers)
        if longest < 3:
            raise ZooError(f"Chrono: longest counts steps and must be at least 3, got {longest}")
        self.longest = longest

    def init_(self, weight: Tensor) -> None:
        chrono_(weight[0], weight[1] if len(weight) > 1 else None, self.longest)
