"""Gated activations: one half of a layer's outputs says how much of the other half passes."""

from typing import Literal, TypeAlias, cast, get_args

from torch import Tensor, nn

from zoo.layers.activation import Activation, gain, make_activation

Gate: TypeAlias = Literal["glu", "reglu", "geglu", "swiglu"]

# One Literal rather than a union of two, so that help and errors list all names at once.
Nonlinearity: TypeAlias = Literal[Activation, Gate]

_INNER: dict[str, Activation] = {"glu": "sigmoid", "reglu": "relu", "geglu": "gelu", "swiglu": "silu"}


class GatedActivation(nn.Module):
    """a * f(b), where a is the first half of the last dimension and b the second: (..., 2 C) -> (..., C).

    Dauphin et al., "Language modeling with gated convolutional networks", 2017, eq. 1, with the sigmoid as f (GLU);
    Shazeer, "GLU variants improve transformer", 2020, for ReGLU, GEGLU and SwiGLU.

    Args:
        inner: f.
    """

    def __init__(self, inner: Activation) -> None:
        super().__init__()
        # Not in place, as the zoo's ReLU is: half of a tensor may not be written to under autograd.
        self.inner = nn.ReLU() if inner == "relu" else make_activation(inner)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = x.chunk(2, -1)
        return value * cast(Tensor, self.inner(gate))


def make_nonlinearity(name: Nonlinearity) -> nn.Module:
    """A fresh activation, or a gate, before which a linear layer has to be ``widening(name)`` times as wide."""
    return GatedActivation(_INNER[name]) if name in _INNER else make_activation(cast(Activation, name))


def widening(name: Nonlinearity) -> int:
    """Outputs that the layer before needs for each one behind: 2 for a gate, else 1."""
    return 2 if name in get_args(Gate) else 1


def nonlinearity_gain(name: Nonlinearity) -> float:
    """``gain`` for activations and gates alike.

    With a and b independent, E[(a f(b))^2] = E[a^2] E[f(b)^2], so a gate has the gain of its f. The product grows with
    the square of its inputs' size, and so that size is kept at 1 but not drawn back to it: a deep stack of gates wants
    a norm.
    """
    return gain(_INNER.get(name, cast(Activation, name)))
