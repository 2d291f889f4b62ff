"""Truncated normal init: a normal distribution without the tails beyond two standard deviations."""

import torch
from torch import Tensor, nn

from callbacks.init.scheme import InitScheme
from zoo.errors import ZooError


@torch.no_grad()
def truncated_normal_(weight: Tensor, std: float = 0.02) -> Tensor:
    """Fill with N(0, std^2) restricted to [-2 std, 2 std].

    ``std`` is that of the normal before it is cut; what is left has the standard deviation
    std * sqrt(1 - 4 phi(2) / (2 Phi(2) - 1)), about 0.88 std, with phi and Phi the density and the distribution
    function of N(0, 1). The custom of transformers since Devlin, Chang, Lee and Toutanova, "BERT", 2019 (in its code).
    """
    return nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)


class TruncatedNormal(InitScheme):
    """Draw every weight from a normal distribution without outliers.

    Args:
        std: standard deviation before the cut, > 0; 0.02 for transformers of width 256 to 1024. The weights keep
            about 0.88 of it.
        layers, head_only: see InitScheme.
    """

    def __init__(self, std: float = 0.02, layers: str | None = None, head_only: bool = False) -> None:
        super().__init__(layers, head_only)
        if not std > 0:
            raise ZooError(f"TruncatedNormal: std must be positive, got {std}; for equal weights use Constant")
        self.std = std

    def init_(self, weight: Tensor) -> None:
        truncated_normal_(weight, self.std)
