import pytest
import torch
from torch import nn

from callbacks.init.lecun_normal import LeCunNormal, lecun_normal_


def test_equals_torch_under_the_same_seed() -> None:
    torch.manual_seed(3)
    ours = lecun_normal_(torch.empty(16, 8, 3, 3))
    torch.manual_seed(3)
    assert torch.equal(ours, nn.init.normal_(torch.empty(16, 8, 3, 3), 0.0, (8 * 9) ** -0.5))


@pytest.mark.parametrize(("shape", "fan_in"), [((20, 400), 400), ((400, 20), 20), ((40, 30, 3, 3), 270)])
def test_variance_is_one_over_fan_in(shape, fan_in, std_over_seeds) -> None:
    assert std_over_seeds(LeCunNormal().init_, *shape) == pytest.approx(fan_in**-0.5, rel=0.01)


def test_a_deep_linear_network_keeps_its_variance() -> None:
    torch.manual_seed(0)
    x = torch.randn(256, 512)
    for _ in range(20):
        x = x @ lecun_normal_(torch.empty(512, 512)).T
    assert x.var().item() == pytest.approx(1, abs=0.25)
