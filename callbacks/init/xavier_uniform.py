"""Xavier (Glorot) init, uniform: a compromise between keeping signals and keeping gradients."""

import torch
from torch import Tensor, nn

from callbacks.init.scheme import InitScheme
from zoo.layers.gate import Nonlinearity, nonlinearity_gain


@torch.no_grad()
def xavier_uniform_(weight: Tensor, gain: float = 1.0) -> Tensor:
    """Fill with U(-b, b), b = g * sqrt(6 / (fan_in + fan_out)), whose variance is g^2 * 2 / (fan_in + fan_out).

    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010, eq. 16;
    the gain g is 1 there.
    """
    return nn.init.xavier_uniform_(weight, gain)


class XavierUniform(InitScheme):
    """Keep the variance of signals and of gradients about constant through layers that are nearly linear.

    Args:
        activation: sets the gain to ``zoo.layers.gate.nonlinearity_gain``, which keeps the second moment behind that
            activation or gate. It is used rather than torch's table because it covers everything that the zoo has by
            one definition; for tanh it gives 1.59 where torch has the rule of thumb 5/3. "identity" is the paper's
            gain 1.
        layers, head_only: see InitScheme.
    """

    def __init__(
        self, activation: Nonlinearity = "identity", layers: str | None = None, head_only: bool = False
    ) -> None:
        super().__init__(layers, head_only)
        self.activation = activation
        self.gain = nonlinearity_gain(activation)

    def init_(self, weight: Tensor) -> None:
        xavier_uniform_(weight, self.gain)
