"""Forget-gate bias: gates that keep the state start open, so that gradients reach far back from the first step on."""

import math

import torch
from torch import Tensor

from callbacks.init.recurrent import GateBias
from zoo.errors import ZooError


@torch.no_grad()
def forget_gate_bias_(bias: Tensor, value: float = 1.0) -> Tensor:
    """Fill the bias of the gate that keeps the state, (H,): it then keeps about sigmoid(value) of it at each step.

    Gers, Schmidhuber and Cummins, "Learning to forget: continual prediction with LSTM", 2000; Jozefowicz, Zaremba and
    Sutskever, "An empirical exploration of recurrent network architectures", 2015 (a value of 1).
    """
    return bias.fill_(value)


class ForgetGateBias(GateBias):
    """Set the bias of the LSTM's forget gate, or of the GRU's update gate, which keeps the state in torch's formula.

    The other gates, and all weights, stay as they are: it goes together with any scheme that comes before it.

    Args:
        value: 1 keeps 73 % of the state at each step, 2 88 %, 5 99.3 %; 0 is torch's mean, 50 %..
        layers: see RecurrentScheme.
    """

    def __init__(self, value: float = 1.0, layers: str | None = None) -> None:
        super().__init__(layers)
        if not math.isfinite(value):
            raise ZooError(f"ForgetGateBias: value must be finite, got {value}; 1 to 5 are usual")
        self.value = value

    def init_(self, weight: Tensor) -> None:
        forget_gate_bias_(weight[0], self.value)
