"""Spectral norm: against the singular values and torch's own, its buffer, and weights that were averaged."""

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from zoo.layers.norm import make_conv, make_linear
from zoo.layers.spectral_norm import SpectralNorm


def layers() -> list[Any]:
    torch.manual_seed(0)
    return [
        make_linear(9, 5, "spectral_norm"),
        make_conv(3, 8, 3, "spectral_norm"),
        make_conv(8, 2, 1, "spectral_norm"),
    ]


def largest(weight: torch.Tensor) -> float:
    return torch.linalg.matrix_norm(weight.flatten(1), 2).item()


@pytest.mark.parametrize("layer", layers(), ids=["linear", "conv", "few rows"])
def test_the_largest_singular_value_is_one(layer: Any) -> None:
    stored = layer.parametrizations.weight.original
    for _ in range(60):
        weight = layer.weight
    assert largest(weight) == pytest.approx(1, abs=1e-4)
    torch.testing.assert_close(weight, stored / largest(stored), rtol=1e-3, atol=1e-4)


def test_equals_torch_when_both_have_converged() -> None:
    plain = nn.Conv2d(4, 8, 3).double()
    theirs, ours = parametrizations.spectral_norm(copy.deepcopy(plain)), copy.deepcopy(plain)
    parametrize.register_parametrization(ours, "weight", SpectralNorm(ours.weight))
    for _ in range(300):
        theirs.weight, ours.weight  # noqa: B018  each look is one step
    torch.testing.assert_close(ours.weight, theirs.weight)
    for layer in (ours, theirs):
        (layer.weight * torch.linspace(-1, 1, 288).view(8, 4, 3, 3)).sum().backward()
    gradients = [layer.parametrizations.weight.original.grad for layer in (ours, theirs)]
    torch.testing.assert_close(*gradients)


def test_the_iteration_goes_on_in_training_only() -> None:
    layer = layers()[0]
    u = layer.parametrizations.weight[0].u
    with torch.no_grad():
        layer.parametrizations.weight.original.normal_()
    layer.eval()
    before = u.clone()
    assert torch.equal(layer.weight, layer.weight)
    assert torch.equal(u, before)
    layer.train()
    layer.weight  # noqa: B018
    assert not torch.equal(u, before)


def test_an_averaged_vector_still_gives_a_bound() -> None:
    """Half the sum of the vectors of two networks: torch's estimate shrinks with its length, ours does not."""
    torch.manual_seed(1)
    layer = make_linear(40, 40, "spectral_norm")
    step = layer.parametrizations.weight[0]
    with torch.no_grad():
        step.u.mul_(0.3)
    layer.eval()
    assert largest(layer.weight) == pytest.approx(1, abs=0.05)


def test_gradients() -> None:
    torch.manual_seed(0)
    weight = torch.randn(4, 3, dtype=torch.double)
    step = SpectralNorm(weight, iterations=200).eval()  # u is fixed; the derivative treats it as that of W itself
    assert torch.autograd.gradcheck(step, weight.clone().requires_grad_())


def test_under_bfloat16_autocast_the_estimate_stays_exact() -> None:
    layer = layers()[0]
    for _ in range(60):
        with torch.autocast("cpu", torch.bfloat16):
            weight = layer.weight
    assert weight.dtype == torch.float32
    assert largest(weight) == pytest.approx(1, abs=1e-4)
