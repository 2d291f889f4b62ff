"""Constant init: every weight the same number, to show why weights must differ."""

import math

import torch
from torch import Tensor, nn

from callbacks.init.scheme import InitScheme
from zoo.errors import ZooError


@torch.no_grad()
def constant_(weight: Tensor, value: float = 0.0) -> Tensor:
    """Fill with one number.

    All units of a layer then compute the same and receive the same gradient, and stay copies of each other for ever.
    Rumelhart, Hinton and Williams, "Learning internal representations by error propagation", 1986, which calls for
    small random weights to break that symmetry.
    """
    return nn.init.constant_(weight, value)


class Constant(InitScheme):
    """Set every weight to one number; a counter-example, and a way to start a single layer at zero.

    Args:
        value: the number; 0 stops all gradients below a hidden layer, other values keep the units of a layer equal.
        layers, head_only: see InitScheme. ``head_only`` with 0 makes the first predictions uniform, which is harmless.
    """

    def __init__(self, value: float = 0.0, layers: str | None = None, head_only: bool = False) -> None:
        super().__init__(layers, head_only)
        if not math.isfinite(value):
            raise ZooError(f"Constant: value must be finite, got {value}")
        self.value = value

    def init_(self, weight: Tensor) -> None:
        constant_(weight, self.value)
