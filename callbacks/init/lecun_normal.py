"""LeCun init: variance 1 / fan_in, which keeps the variance of linear and self-normalising units."""

import torch
from torch import Tensor, nn

from callbacks.init.scheme import InitScheme


@torch.no_grad()
def lecun_normal_(weight: Tensor) -> Tensor:
    """Fill with N(0, 1 / fan_in).

    LeCun, Bottou, Orr and Mueller, "Efficient BackProp", 1998, eq. 16; what SELU networks rest on: Klambauer,
    Unterthiner, Mayr and Hochreiter, "Self-normalizing neural networks", 2017, section "Initialization".
    """
    return nn.init.kaiming_normal_(weight, nonlinearity="linear")


class LeCunNormal(InitScheme):
    """Keep the variance of a linear layer's output equal to its input's second moment.

    Args:
        layers, head_only: see InitScheme.
    """

    def __init__(self, layers: str | None = None, head_only: bool = False) -> None:
        super().__init__(layers, head_only)

    def init_(self, weight: Tensor) -> None:
        lecun_normal_(weight)
