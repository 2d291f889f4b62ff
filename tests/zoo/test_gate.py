"""Gates: their formulas, torch's GLU, the widths they need, their gains, and their place in every family."""

import math
from typing import Any, get_args, get_type_hints

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from callbacks.init.xavier_normal import XavierNormal
from callbacks.init.xavier_uniform import XavierUniform
from zoo.cnn import ResNet
from zoo.layers.activation import Activation, gain
from zoo.layers.gate import Gate, Nonlinearity, make_nonlinearity, nonlinearity_gain, widening
from zoo.mlp import MLP
from zoo.tabular import FTTransformer, TabM, TabularMLP
from zoo.task import Classification

FORMULAS = {
    "glu": torch.sigmoid,
    "reglu": lambda b: b.clamp(min=0),
    "geglu": lambda b: b * 0.5 * (1 + torch.erf(b / math.sqrt(2))),
    "swiglu": lambda b: b * torch.sigmoid(b),
}


@pytest.mark.parametrize("name", get_args(Gate))
def test_values(name: Gate) -> None:
    x = torch.randn(5, 3, 8, dtype=torch.double)
    gate = make_nonlinearity(name).double()
    torch.testing.assert_close(gate(x), x[..., :4] * FORMULAS[name](x[..., 4:]))
    if name == "glu":
        torch.testing.assert_close(gate(x), F.glu(x))
    assert torch.autograd.gradcheck(gate, torch.randn(2, 6, dtype=torch.double, requires_grad=True))


def test_activations_are_as_they_were_and_names_are_one_list() -> None:
    assert isinstance(make_nonlinearity("relu"), nn.ReLU)
    assert set(get_args(Nonlinearity)) == set(get_args(Activation)) | set(get_args(Gate))
    assert {name: widening(name) for name in ("relu", "gelu", "glu", "swiglu")} == {
        "relu": 1, "gelu": 1, "glu": 2, "swiglu": 2,
    }  # fmt: skip


@pytest.mark.parametrize(("family", "takes_gates"), [(MLP, True), (TabM, True), (FTTransformer, True), (ResNet, False)])
def test_the_names_that_a_family_takes(family: Any, takes_gates: bool) -> None:
    names = set(get_args(get_type_hints(family.__init__)["activation"]))
    assert names == set(get_args(Nonlinearity if takes_gates else Activation))


@pytest.mark.parametrize("name", get_args(Gate))
def test_gain_keeps_the_second_moment_through_a_layer(name: Gate) -> None:
    width, moments = 400, []
    for seed in range(4):
        torch.manual_seed(seed)
        hidden = make_nonlinearity(name)(torch.randn(512, 2 * width))
        moments.append((hidden @ (torch.randn(width, width) * nonlinearity_gain(name) / width**0.5)).square().mean())
    assert torch.stack(moments).mean().item() == pytest.approx(1.0, abs=0.05)
    assert nonlinearity_gain("tanh") == gain("tanh")
    assert XavierNormal(name).gain == XavierUniform(name).gain == nonlinearity_gain(name)


@pytest.mark.parametrize("name", get_args(Gate))
@pytest.mark.parametrize("norm", ["none", "batch", "weight_norm"])
def test_mlp_by_hand(name: Gate, norm: Any) -> None:
    torch.manual_seed(0)
    module: Any = MLP(12, Classification(3), [8, 5], activation=name, norm=norm).eval()
    x = torch.randn(4, 12)
    out: Tensor = x
    for block, width in zip(module.backbone, (8, 5), strict=True):
        assert block.linear.out_features == 2 * width
        wide = block.norm(block.linear(out))
        out = wide[:, :width] * FORMULAS[name](wide[:, width:])
    torch.testing.assert_close(module(x), module.head(out))


@pytest.mark.parametrize("name", ["reglu", "swiglu", "relu"])
@pytest.mark.parametrize("kind", [MLP, TabularMLP, TabM, FTTransformer])
@pytest.mark.parametrize("size", [1, 3])
def test_every_family_trains(kind: Any, name: Any, size: int) -> None:
    module = kind(6, Classification(3), activation=name)
    module.training_step((torch.randn(size, 6), torch.arange(size)), 0).backward()
    # Features that are constant in a batch of one still have gradients; none is missing.
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


def test_residual_blocks_compare_widths_behind_the_gate() -> None:
    module: Any = MLP(12, Classification(3), [8, 8], activation="swiglu", residual=True)
    assert [block.residual for block in module.backbone] == [False, True]


def test_the_transformer_has_reglu_by_default() -> None:
    torch.manual_seed(0)
    module: Any = FTTransformer(4, Classification(3), width=12, blocks=1, heads=2).eval()
    block, x = module.backbone[0], torch.randn(2, 5, 12)
    mixed = x + block.attention(x, x, x, need_weights=False)[0]
    value, gate = block.expand(block.norm2(mixed)).chunk(2, -1)
    torch.testing.assert_close(block(x), mixed + block.contract(value * gate.relu()))
    assert block.expand.out_features == 2 * 16
    assert (
        FTTransformer(4, Classification(3), width=12, heads=2, activation="gelu").backbone[0].expand.out_features == 16
    )
