import pytest
import torch
from torch import nn

from callbacks.init.normal import Normal, normal_
from zoo.errors import ZooError


@pytest.mark.parametrize("shape", [(64, 32), (16, 8, 3, 3)])
def test_equals_torch_under_the_same_seed(shape) -> None:
    torch.manual_seed(3)
    ours = normal_(torch.empty(shape), 0.3)
    torch.manual_seed(3)
    assert torch.equal(ours, nn.init.normal_(torch.empty(shape), 0.0, 0.3))


@pytest.mark.parametrize("std", [0.01, 1.0])
def test_the_standard_deviation_ignores_the_width(std, std_over_seeds) -> None:
    for shape in [(8, 400), (400, 8), (32, 32, 3, 3)]:
        # 20 seeds of 3,200 draws or more: the standard error is at most 0.3 %.
        assert std_over_seeds(Normal(std).init_, *shape) == pytest.approx(std, rel=0.012)


def test_a_std_of_zero_is_refused() -> None:
    with pytest.raises(ZooError, match="Normal: std must be positive, got 0; for equal weights use Constant"):
        Normal(0)
