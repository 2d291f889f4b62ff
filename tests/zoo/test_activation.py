"""Activations are torch's; their gains keep the variance of a deep random network."""

import math
from collections.abc import Callable
from typing import get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.layers.activation import Activation, gain, make_activation

NAMES: tuple[Activation, ...] = get_args(Activation)
FORMULAS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda x: x,
    "sigmoid": torch.sigmoid,
    "hard_sigmoid": lambda x: (x / 6 + 0.5).clamp(0, 1),
    "tanh": torch.tanh,
    "softsign": lambda x: x / (1 + x.abs()),
    "softplus": lambda x: torch.log1p(x.exp()),
    "relu": lambda x: x.clamp(min=0),
    "relu6": lambda x: x.clamp(0, 6),
    "leaky_relu": lambda x: torch.where(x > 0, x, 0.01 * x),
    "prelu": lambda x: torch.where(x > 0, x, 0.25 * x),
    "rrelu": lambda x: torch.where(x > 0, x, (1 / 8 + 1 / 3) / 2 * x),
    "elu": lambda x: torch.where(x > 0, x, x.exp() - 1),
    "celu": lambda x: torch.where(x > 0, x, x.exp() - 1),
    "selu": lambda x: 1.0507009873554805 * torch.where(x > 0, x, 1.6732632423543772 * (x.exp() - 1)),
    "gelu": lambda x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x * torch.sigmoid(x),
    "mish": lambda x: x * torch.tanh(torch.log1p(x.exp())),
    "hard_swish": lambda x: x * (x / 6 + 0.5).clamp(0, 1),
    "relu_squared": lambda x: F.relu(x) ** 2,
}


@pytest.mark.parametrize("name", NAMES)
def test_values(name: Activation) -> None:
    x = torch.linspace(-8, 8, 401, dtype=torch.double)
    module = make_activation(name).eval().double()
    torch.testing.assert_close(module(x.clone()), FORMULAS[name](x), rtol=1e-7, atol=1e-7)


def test_every_call_makes_its_own_module() -> None:
    assert make_activation("prelu") is not make_activation("prelu")
    assert isinstance(make_activation("relu"), nn.ReLU)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("identity", 1.0),
        ("relu", math.sqrt(2)),
        ("leaky_relu", math.sqrt(2 / (1 + 0.01**2))),
        ("prelu", math.sqrt(2 / (1 + 0.25**2))),
        ("rrelu", math.sqrt(2 / (1 + (11 / 48) ** 2))),
        ("selu", 1.0),  # Klambauer et al. 2017: the fixed point of mean 0 and variance 1
        ("relu_squared", math.sqrt(2 / 3)),  # E[z^4] = 3, half of it on the positive side
    ],
)
def test_gain_where_it_is_known(name: Activation, expected: float) -> None:
    assert gain(name) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_gain_is_one_over_the_root_of_the_second_moment(name: Activation) -> None:
    # Midpoint rule, which shares neither points nor weights with what is tested.
    step = 1e-4
    z = torch.arange(-10, 10, step, dtype=torch.double) + step / 2
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    moment = (FORMULAS[name](z).square() * density).sum() * step
    assert gain(name) == pytest.approx(moment.item() ** -0.5, rel=5e-5)


@pytest.mark.parametrize("name", ["relu", "tanh", "gelu", "softsign", "hard_swish"])
def test_gain_keeps_the_second_moment_through_layers(name: Activation) -> None:
    width = 400
    activation, scale = make_activation(name), gain(name) / width**0.5
    ratios = []
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        z = torch.randn(256, width, generator=generator)
        for _ in range(3):
            z = activation(z) @ (torch.randn(width, width, generator=generator) * scale)
        ratios.append(z.square().mean().item())
    assert sum(ratios) / len(ratios) == pytest.approx(1.0, abs=0.15)
