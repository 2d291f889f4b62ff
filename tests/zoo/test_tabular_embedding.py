"""Embeddings of numbers and categories, against their formulas and by hand."""

import math

import pytest
import torch
from torch import nn

from zoo.errors import ZooError
from zoo.layers.batch_ensemble import BatchEnsembleLinear, MemberLinear
from zoo.layers.tabular_embedding import (
    CategoricalEmbedding,
    LinearEmbedding,
    PeriodicEmbedding,
    PiecewiseLinearEmbedding,
    PiecewiseLinearReLUEmbedding,
    bin_edges,
    piecewise_linear_encoding,
)


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (0.0, [0.0, 0.0, 0.0]),
        (0.5, [0.5, 0.0, 0.0]),
        (1.0, [1.0, 0.0, 0.0]),
        (2.0, [1.0, 0.5, 0.0]),
        (7.0, [1.0, 1.0, 0.8]),
        (-2.0, [-2.0, 0.0, 0.0]),  # the first bin is open below
        (13.0, [1.0, 1.0, 2.0]),  # the last bin is open above
    ],
)
def test_encoding_by_hand(x: float, expected: list[float]) -> None:
    edges = torch.tensor([0.0, 1.0, 3.0, 8.0])
    torch.testing.assert_close(piecewise_linear_encoding(torch.tensor(x), edges), torch.tensor(expected))


def test_a_single_bin_is_linear() -> None:
    x = torch.linspace(-5, 5, 11)
    torch.testing.assert_close(piecewise_linear_encoding(x, torch.tensor([1.0, 3.0]))[:, 0], (x - 1) / 2)


def test_bins_are_quantiles_of_the_rows() -> None:
    rows = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 10.0, 0.1])
    layer = PiecewiseLinearEmbedding(3, 4, bins=8)
    layer.fit(rows)
    x = torch.randn(20, 3)
    for feature in range(3):
        edges = rows[:, feature].quantile(torch.linspace(0, 1, 9), interpolation="lower")
        torch.testing.assert_close(
            layer.encode(x)[:, feature], piecewise_linear_encoding(x[:, feature], edges), rtol=1e-4, atol=1e-4
        )
    inside = layer.encode(rows)[:, 0]
    assert (inside >= 0).all()
    assert (inside <= 1 + 1e-5).all()
    reached = (inside > 0).float().mean(0)
    torch.testing.assert_close(reached, 1 - torch.arange(8) / 8, rtol=0, atol=0.002)  # as many rows in each bin


def test_ties_and_constants_leave_bins_empty() -> None:
    rows = torch.stack([torch.tensor([0.0] * 90 + [1.0] * 10), torch.full((100,), 3.0)], 1)
    layer = PiecewiseLinearEmbedding(2, 4, bins=10)
    layer.fit(rows)
    code = layer.encode(torch.tensor([[0.25, 3.0], [1.0, 9.0]]))
    assert code[:, 0, 0].tolist() == pytest.approx([0.25, 1.0]), "one bin is left, from 0 to 1"
    assert code[:, 0, 1:].abs().max() == 0
    assert code[:, 1].abs().max() == 0, "a constant column says nothing"


def test_edges_of_a_column_that_is_mostly_zero() -> None:
    column = torch.cat([torch.zeros(900), torch.linspace(1, 100, 100)])
    edges = bin_edges(column, 10)
    assert len(edges) == 11
    assert edges[0] == 0, "the zeros take one edge, and the other rows ten"
    shares = torch.histogram(column[900:], edges[1:]).hist
    assert (shares - 11.1).abs().max() < 1
    assert torch.equal(bin_edges(torch.tensor([3.0, 1.0, 3.0, 2.0]), 4), torch.tensor([1.0, 2.0, 3.0]))


def test_bins_are_taken_once_and_travel_with_the_weights() -> None:
    layer, other = PiecewiseLinearEmbedding(2, 3, 4), PiecewiseLinearEmbedding(2, 3, 4)
    x = torch.randn(50, 2)
    layer.fit(x)
    nn.init.normal_(layer.weight)
    before = layer(x)
    layer.fit(100 * x)
    assert torch.equal(layer(x), before)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(x), before)
    assert other.fitted


def test_piecewise_linear_starts_linear_and_adds_the_encoding() -> None:
    layer, x = PiecewiseLinearEmbedding(2, 3, 4), torch.randn(7, 2)
    assert torch.equal(layer(x), layer.linear(x))
    nn.init.normal_(layer.weight)
    code = layer.encode(x)
    expected = torch.stack([layer.linear(x)[:, j] + code[:, j] @ layer.weight[j] for j in range(2)], 1)
    torch.testing.assert_close(layer(x), expected)


def test_piecewise_linear_relu() -> None:
    layer, x = PiecewiseLinearReLUEmbedding(2, 3, 4), torch.randn(7, 2)
    layer.fit(torch.randn(50, 2))
    code = layer.encode(x)
    expected = torch.stack([code[:, j] @ layer.weight[j] + layer.bias[j] for j in range(2)], 1).clamp(min=0)
    torch.testing.assert_close(layer(x), expected)
    large = PiecewiseLinearReLUEmbedding(100, 8, 25).weight
    assert float(large.detach().std()) == pytest.approx((3 * 25) ** -0.5, rel=0.03), "as nn.Linear's: U(-1/5, 1/5)"


def test_linear() -> None:
    layer, x = LinearEmbedding(2, 3), torch.randn(5, 2)
    torch.testing.assert_close(layer(x)[4, 1], x[4, 1] * layer.weight[1] + layer.bias[1])


def test_periodic() -> None:
    layer, x = PeriodicEmbedding(2, 3, frequencies=5, scale=0.5), torch.randn(6, 2)
    v = 2 * math.pi * layer.frequencies[1] * x[2, 1]
    expected = torch.cat([torch.sin(v), torch.cos(v)]) @ layer.weight[1] + layer.bias[1]
    torch.testing.assert_close(layer(x)[2, 1], expected.clamp(min=0))


def test_scale_of_the_frequencies() -> None:
    drawn = PeriodicEmbedding(100, 1, 100, scale=0.3).frequencies.detach().std()
    assert float(drawn) == pytest.approx(0.3, rel=0.03)  # 10,000 draws: one deviation is 0.7 %


def test_categories_and_the_unknown_one() -> None:
    layer = CategoricalEmbedding([3, 5], 4)
    out = layer(torch.tensor([[0, 4], [2, 0]]))
    assert out.shape == (2, 2, 4)
    assert out[0, 0].abs().max() == 0
    assert torch.equal(out[0, 1], layer.tables[1].weight[4])
    out.sum().backward()
    assert layer.tables[0].weight.grad[0].abs().max() == 0, "the unknown category learns nothing"


def test_batch_ensemble_is_a_linear_layer_for_each_member() -> None:
    layer = BatchEnsembleLinear(3, 4, 5)
    nn.init.normal_(layer.scale_in)
    nn.init.normal_(layer.scale_out)
    x = torch.randn(7, 3, 4)
    for i in range(3):
        weight = layer.scale_out[i][:, None] * layer.shared.weight * layer.scale_in[i]
        torch.testing.assert_close(layer(x)[:, i], x[:, i] @ weight.T + layer.bias[i])


def test_member_linear() -> None:
    layer, x = MemberLinear(3, 4, 2), torch.randn(6, 3, 4)
    torch.testing.assert_close(layer(x)[:, 1], x[:, 1] @ layer.weight[1] + layer.bias[1])


@pytest.mark.parametrize("kind", ["piecewise_linear", "piecewise_linear_relu", "periodic", "linear"])
def test_gradients(kind: str) -> None:
    layers: dict[str, nn.Module] = {
        "piecewise_linear": PiecewiseLinearEmbedding(2, 3, 4),
        "piecewise_linear_relu": PiecewiseLinearReLUEmbedding(2, 3, 4),
        "periodic": PeriodicEmbedding(2, 3, 4, 0.3),
        "linear": LinearEmbedding(2, 3),
    }
    layer = layers[kind].double()
    x = torch.tensor([[0.31, -0.62], [1.13, 0.27]], dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(layer, x)


def test_errors() -> None:
    with pytest.raises(ZooError, match=r"^piecewise_linear needs at least 1 bin, got 0$"):
        PiecewiseLinearEmbedding(2, 3, 0)
    with pytest.raises(ZooError, match=r"^periodic needs frequencies and a positive scale, got 4 and 0$"):
        PeriodicEmbedding(2, 3, 4, 0)
