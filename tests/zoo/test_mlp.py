"""The MLP: its formula, its options, its gradients, and that it learns."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from zoo.errors import ZooError
from zoo.mlp import MLP
from zoo.task import Classification, Regression


def make(**arguments: Any) -> Any:
    torch.manual_seed(0)
    return MLP(**{"in_features": 12, "task": Classification(3), "hidden": [8, 8, 5], **arguments})


def test_the_formula() -> None:
    module = make(activation="tanh")
    x = torch.randn(6, 12)
    out = x
    for block in module.backbone:
        out = torch.tanh(out @ block.linear.weight.T + block.linear.bias)
    torch.testing.assert_close(module(x), out @ module.head.weight.T + module.head.bias)


@pytest.mark.parametrize("shape", [(5, 12), (5, 3, 4), (5, 1, 3, 4)])
def test_samples_are_flattened(shape: tuple[int, ...]) -> None:
    module, x = make(), torch.randn(5, 12)
    assert torch.equal(module(x.view(shape)), module(x))


@pytest.mark.parametrize("hidden", [[], [7], [64, 32]])
def test_parameter_count(hidden: list[int]) -> None:
    widths = [12, *hidden, 3]
    expected = sum(a * b + b for a, b in pairwise(widths))
    assert sum(p.numel() for p in make(hidden=hidden).parameters()) == expected


def test_no_hidden_layer_is_linear_regression() -> None:
    module = make(hidden=[], task=Regression(2))
    x = torch.randn(4, 12)
    assert torch.equal(module(x), F.linear(x, module.head.weight, module.head.bias))


def test_the_input_is_added_where_widths_agree() -> None:
    module = make(residual=True, hidden=[8, 8, 5])
    assert [block.residual for block in module.backbone] == [False, True, False]
    x = torch.randn(4, 12)
    first = module.backbone[0](x)
    torch.testing.assert_close(
        module.backbone[1](first), first + F.relu(F.linear(first, *module.backbone[1].linear.parameters()))
    )


def test_norm_dropout_and_selu() -> None:
    block = make(norm="batch", dropout=0.3).backbone[0]
    assert isinstance(block.norm, nn.BatchNorm1d)
    assert block.linear.bias is None
    assert isinstance(block.dropout, nn.Dropout)
    assert block.dropout.p == 0.3
    assert isinstance(make(activation="selu", dropout=0.1).backbone[0].dropout, nn.AlphaDropout)


@pytest.mark.parametrize("norm", ["none", "batch", "layer", "rms", "group", "weight_standardized"])
def test_every_norm_trains(norm: Any) -> None:
    module = make(norm=norm, hidden=[16, 16])
    loss = module.training_step((torch.randn(8, 12), torch.arange(8) % 3), 0)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden": [8, 0]}, r"^MLP: widths must be positive, got hidden=\[8, 0\]$"),
        ({"dropout": 1.0}, r"^MLP: dropout must lie in \[0, 1\), got 1.0$"),
        ({"norm": "instance"}, "^norm=instance normalises over the pixels"),
    ],
)
def test_arguments_that_cannot_work(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ZooError, match=message):
        make(**arguments)


@pytest.mark.parametrize(("activation", "norm"), [("tanh", "none"), ("gelu", "layer"), ("silu", "rms")])
def test_gradients(activation: Any, norm: Any) -> None:
    module = make(hidden=[4, 4], activation=activation, norm=norm, residual=True).double()
    names = [name for name, _ in module.named_parameters()]
    x, y = torch.randn(3, 12, dtype=torch.double, requires_grad=True), torch.tensor([0, 2, 1])

    def loss(x: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(torch.func.functional_call(module, dict(zip(names, parameters)), (x,)), y)

    assert torch.autograd.gradcheck(loss, (x, *module.parameters()))


@pytest.mark.parametrize(
    ("norm", "activation", "loss"),
    [("none", "relu", 0.02), ("none", "swiglu", 0.02), ("weight_norm", "relu", 0.02), ("spectral_norm", "relu", 0.15)],
)
def test_learns_64_digits_by_heart(norm: Any, activation: Any, loss: float) -> None:
    pixels, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(pixels[:64]).float() / 16, torch.tensor(labels[:64])
    module = make(in_features=64, task=Classification(10), hidden=[64], norm=norm, activation=activation)
    optimizer = torch.optim.Adam(module.parameters(), 0.01)
    for _ in range(100):
        optimizer.zero_grad()
        module.training_step((x, y), 0).backward()
        optimizer.step()
    assert (module(x).argmax(1) == y).all()
    assert module.last_loss < loss
