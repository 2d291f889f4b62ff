from itertools import pairwise

import pytest
import torch
from torch import nn

from callbacks.init.kaiming_normal import KaimingNormal, kaiming_normal_
from zoo.errors import ZooError


@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
@pytest.mark.parametrize("shape", [(64, 32), (16, 8, 3, 3)])
def test_equals_torch_under_the_same_seed(shape, mode) -> None:
    torch.manual_seed(3)
    ours = kaiming_normal_(torch.empty(shape), mode)
    torch.manual_seed(3)
    assert torch.equal(ours, nn.init.kaiming_normal_(torch.empty(shape), mode=mode, nonlinearity="relu"))


@pytest.mark.parametrize(
    ("shape", "mode", "fan"),
    [
        ((20, 400), "fan_in", 400),
        ((20, 400), "fan_out", 20),
        ((40, 30, 3, 3), "fan_in", 270),
        ((40, 30, 3, 3), "fan_out", 360),
    ],
)
@pytest.mark.parametrize("slope", [0.0, 0.25, 1.0])
def test_variance_is_two_over_fan_and_slope(shape, mode, fan, slope, std_over_seeds) -> None:
    std = std_over_seeds(KaimingNormal(mode, slope).init_, *shape)
    assert std == pytest.approx((2 / ((1 + slope**2) * fan)) ** 0.5, rel=0.01)


@pytest.mark.parametrize("slope", [0.0, 0.25])
def test_a_deep_rectifier_network_keeps_its_second_moment(slope) -> None:
    torch.manual_seed(0)
    x, scheme, weight = torch.randn(256, 512), KaimingNormal(negative_slope=slope), torch.empty(512, 512)
    for _ in range(20):
        scheme.init_(weight)
        x = nn.functional.leaky_relu(x, slope) @ weight.T
    assert x.square().mean().item() == pytest.approx(1, abs=0.5)  # without the factor 2 it would be 1e-6


def test_fan_out_keeps_the_gradients_of_a_deep_network() -> None:
    torch.manual_seed(0)
    scheme = KaimingNormal("fan_out")
    widths = [256, 512] * 8
    layers = [nn.Linear(a, b, bias=False) for a, b in pairwise(widths)]
    for layer in layers:
        scheme.init_(layer.weight.data)
    x = torch.randn(128, 256, requires_grad=True)
    out = nn.Sequential(*[module for layer in layers for module in (nn.ReLU(), layer)])(x)
    upstream = torch.randn_like(out)
    (gradient,) = torch.autograd.grad(out, x, upstream)
    per_value = gradient.square().sum() / upstream.square().sum() * 512 / 256
    assert per_value.item() == pytest.approx(1, abs=0.5)


def test_an_unknown_mode() -> None:
    with pytest.raises(ZooError, match="KaimingNormal: mode must be fan_in or fan_out, got 'fan_avg'"):
        KaimingNormal(mode="fan_avg")
