"""Dropout with a mask from fewer random numbers: its statistics, its seeds, and that it remains torch's elsewhere."""

import copy

import pytest
import torch
from torch import nn

from zoo.layers.dropout import dropouts
from zoo.layers.quick_dropout import QuickDropout, quick_mask


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_rate_and_scale(p: float) -> None:
    torch.manual_seed(0)
    out = QuickDropout(p)(torch.ones(1000, 1001))
    kept = out > 0
    deviation = (p * (1 - p) / out.numel()) ** 0.5
    assert float(kept.double().mean()) == pytest.approx(1 - p, abs=5 * deviation)
    assert out[kept].unique().tolist() == pytest.approx([1 / (1 - p)], rel=1e-4)
    # The four entries that share a random number know nothing of each other, nor do neighbours in the other direction.
    for shift in (1, 2, 3, 4, 1001):
        flat = kept.flatten().double()
        both = float((flat[:-shift] * flat[shift:]).mean())
        assert both == pytest.approx((1 - p) ** 2, abs=5 * deviation)


def test_the_scale_is_that_of_the_rounded_rate() -> None:
    for dropped in (1, 2**15, 2**16 - 1):
        kept = 1 - dropped / 2**16
        assert quick_mask(torch.ones(4, 2**16), dropped).unique().tolist()[-1] == pytest.approx(1 / kept)


def test_gradients_pass_where_entries_are_kept() -> None:
    x = torch.randn(9, 7, requires_grad=True)
    out = QuickDropout(0.4)(x)
    out.sum().backward()
    torch.testing.assert_close(x.grad * x, out)  # type: ignore[operator]


def test_torchs_seed_decides() -> None:
    x, layer = torch.ones(5, 3), QuickDropout(0.5)
    torch.manual_seed(3)
    first = layer(x), layer(x)
    torch.manual_seed(3)
    again = layer(x), layer(x)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (2, 3, 7)])
def test_shape_and_precision_are_kept(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    out = QuickDropout(0.5)(torch.ones(shape, dtype=dtype))
    assert (out.shape, out.dtype) == (shape, dtype)
    turned = torch.ones(6, 4).T
    assert QuickDropout(0.5)(turned).shape == (4, 6)


@pytest.mark.parametrize("p", [0.0, 1e-6, 1.0])
def test_the_ends_are_torchs(p: float) -> None:
    x = torch.randn(20, 20)
    torch.manual_seed(0)
    expected = nn.Dropout(p)(x)
    torch.manual_seed(0)
    assert torch.equal(QuickDropout(p)(x), expected)


def test_it_is_torchs_dropout_to_all_who_look_for_it() -> None:
    layer, x = QuickDropout(0.3), torch.randn(4, 4)
    assert isinstance(layer, nn.Dropout)
    assert dropouts(nn.Sequential(layer)) == [(layer, "p")]
    assert torch.equal(layer.eval()(x), x)
    assert copy.deepcopy(layer).p == 0.3
    layer.train().p = 0.0  # a schedule of the rate
    assert torch.equal(layer(x), x)
    overwriting, y = QuickDropout(0.5, inplace=True), x.clone()
    assert overwriting(y) is y
