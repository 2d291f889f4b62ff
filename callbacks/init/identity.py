"""Identity init: every layer hands its input on."""

import torch
from torch import Tensor, nn

from callbacks.init.scheme import InitScheme


@torch.no_grad()
def identity_(weight: Tensor) -> Tensor:
    """Fill with the identity: ones on the diagonal of a linear layer, a Dirac delta per channel of a convolution.

    A weight that is not square hands on the first min(in, out) features and sets the others to zero. Le, Jaitly and
    Hinton, "A simple way to initialize recurrent networks of rectified linear units", 2015, section 3, for W_hh.
    """
    return nn.init.eye_(weight) if weight.ndim == 2 else nn.init.dirac_(weight)


class Identity(InitScheme):
    """Start every layer as the identity, without any randomness.

    Args:
        layers, head_only: see InitScheme. Most useful with ``layers``: on the recurrent weights, or on square layers
            in the middle of a network; where a layer is wider than its input, the surplus units start dead.
    """

    def __init__(self, layers: str | None = None, head_only: bool = False) -> None:
        super().__init__(layers, head_only)

    def init_(self, weight: Tensor) -> None:
        identity_(weight)
