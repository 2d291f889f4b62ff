"""Activation functions by the field's names, each with the gain that belongs to it."""

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, TypeAlias

from torch import Tensor, nn

Activation: TypeAlias = Literal[
    "identity", "sigmoid", "hard_sigmoid", "tanh", "softsign", "softplus", "relu", "relu6", "leaky_relu", "prelu",
    "rrelu", "elu", "celu", "selu", "gelu", "gelu_tanh", "silu", "mish", "hard_swish", "relu_squared",
]  # fmt: skip


class SquaredReLU(nn.Module):
    """max(0, x)^2. So et al., "Primer: searching for efficient transformers", 2021, section 3."""

    def forward(self, x: Tensor) -> Tensor:
        return x.relu().square()


_BUILDERS: dict[str, Callable[[], nn.Module]] = {
    "identity": nn.Identity,
    "sigmoid": nn.Sigmoid,
    "hard_sigmoid": nn.Hardsigmoid,
    "tanh": nn.Tanh,
    "softsign": nn.Softsign,
    "softplus": nn.Softplus,
    "relu": partial(nn.ReLU, inplace=True),
    "relu6": partial(nn.ReLU6, inplace=True),
    "leaky_relu": nn.LeakyReLU,
    "prelu": nn.PReLU,
    "rrelu": nn.RReLU,
    "elu": nn.ELU,
    "celu": nn.CELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "gelu_tanh": partial(nn.GELU, approximate="tanh"),
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "hard_swish": nn.Hardswish,
    "relu_squared": SquaredReLU,
}


def make_activation(name: Activation) -> nn.Module:
    """A fresh activation module.

    >>> make_activation("relu")
    ReLU(inplace=True)
    """
    return _BUILDERS[name]()


def gain(name: Activation) -> float:
    """The factor g for which Var(W) = g^2 / fan_in keeps pre-activations z ~ N(0, 1) at variance 1, to six digits.

    g = E[f(z)^2]^(-1/2): He et al., "Delving deep into rectifiers", 2015, eq. 10, for any f instead of ReLU only
    (there sqrt(2)). The expectation is taken by the trapezoidal rule on the module itself, so that a new activation
    needs no entry in a table.
    """
    import torch

    # Steps of 1/1000 put the kinks of the piecewise activations (0, 3, 6) on the grid, as Gauss points would not.
    z = torch.linspace(-12, 12, 24001, dtype=torch.double)
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    with torch.no_grad():
        values = make_activation(name).eval().double()(z.clone())  # some work in place
    return float(torch.trapezoid(values.square() * density, z)) ** -0.5
