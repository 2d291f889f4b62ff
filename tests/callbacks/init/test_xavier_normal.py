import pytest
import torch
from torch import nn

from callbacks.init.xavier_normal import XavierNormal, xavier_normal_


@pytest.mark.parametrize("shape", [(64, 32), (16, 8, 3, 3)])
def test_equals_torch_under_the_same_seed(shape) -> None:
    torch.manual_seed(3)
    ours = xavier_normal_(torch.empty(shape), 1.7)
    torch.manual_seed(3)
    assert torch.equal(ours, nn.init.xavier_normal_(torch.empty(shape), 1.7))


@pytest.mark.parametrize(("shape", "fans"), [((20, 400), 420), ((400, 20), 420), ((40, 30, 3, 3), 70 * 9)])
@pytest.mark.parametrize(("activation", "gain"), [("identity", 1.0), ("relu", 2**0.5), ("tanh", 1.5925)])
def test_variance_is_two_over_the_sum_of_fans_times_the_gain(shape, fans, activation, gain, std_over_seeds) -> None:
    std = std_over_seeds(XavierNormal(activation).init_, *shape)
    assert std == pytest.approx(gain * (2 / fans) ** 0.5, rel=0.01)


def test_the_gain_keeps_the_second_moment_behind_the_activation() -> None:
    torch.manual_seed(0)
    x, scheme, weight = torch.randn(256, 512), XavierNormal("tanh"), torch.empty(512, 512)
    for _ in range(20):
        scheme.init_(weight)
        x = torch.tanh(x @ weight.T)
    assert x.square().mean().item() == pytest.approx(1 / scheme.gain**2, rel=0.05)
