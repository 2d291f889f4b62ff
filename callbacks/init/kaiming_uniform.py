"""Kaiming (He) init, uniform: the variance that rectifiers need."""

from typing import Literal

import torch
from torch import Tensor, nn

from callbacks.init.scheme import InitScheme
from zoo.errors import ZooError


@torch.no_grad()
def kaiming_uniform_(
    weight: Tensor, mode: Literal["fan_in", "fan_out"] = "fan_in", negative_slope: float = 0.0
) -> Tensor:
    """Fill with U(-b, b), b = sqrt(6 / ((1 + a^2) fan)), whose variance is 2 / ((1 + a^2) fan).

    He, Zhang, Ren and Sun, "Delving deep into rectifiers", 2015: eq. 10 (fan_in: signals keep their second moment),
    eq. 14 (fan_out: gradients do) and eq. 15 (the slope a of a leaky ReLU).
    """
    return nn.init.kaiming_uniform_(weight, a=negative_slope, mode=mode, nonlinearity="leaky_relu")


class KaimingUniform(InitScheme):
    """Keep the second moment of ReLU networks constant through depth.

    Args:
        mode: "fan_in" keeps signals in the forward pass, "fan_out" gradients in the backward pass; they differ only
            where the width changes.
        negative_slope: slope a of the activation below zero: 0 for ReLU, 0.01 for leaky ReLU, 0.25 for PReLU; 1 is
            the linear case, the same as LeCun init.
        layers, head_only: see InitScheme.
    """

    def __init__(
        self,
        mode: Literal["fan_in", "fan_out"] = "fan_in",
        negative_slope: float = 0.0,
        layers: str | None = None,
        head_only: bool = False,
    ) -> None:
        super().__init__(layers, head_only)
        if mode not in ("fan_in", "fan_out"):
            raise ZooError(f"KaimingUniform: mode must be fan_in or fan_out, got {mode!r}")
        self.mode = mode
        self.negative_slope = negative_slope

    def init_(self, weight: Tensor) -> None:
        kaiming_uniform_(weight, self.mode, self.negative_slope)
