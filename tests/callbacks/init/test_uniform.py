import pytest
import torch
from torch import nn

from callbacks.init.uniform import Uniform, uniform_
from zoo.errors import ZooError


@pytest.mark.parametrize("shape", [(64, 32), (16, 8, 3, 3)])
def test_equals_torch_under_the_same_seed(shape) -> None:
    torch.manual_seed(3)
    ours = uniform_(torch.empty(shape), 0.3)
    torch.manual_seed(3)
    assert torch.equal(ours, nn.init.uniform_(torch.empty(shape), -0.3, 0.3))


def test_bound_and_standard_deviation(std_over_seeds) -> None:
    scheme = Uniform(0.2)
    for shape in [(8, 400), (32, 32, 3, 3)]:
        assert std_over_seeds(scheme.init_, *shape) == pytest.approx(0.2 / 3**0.5, rel=0.01)
    torch.manual_seed(0)
    weight = torch.empty(200, 200)
    scheme.init_(weight)
    assert weight.min().item() == pytest.approx(-0.2, abs=1e-4)
    assert weight.max().item() == pytest.approx(0.2, abs=1e-4)
    assert weight.abs().max() <= 0.2


def test_a_bound_of_zero_is_refused() -> None:
    with pytest.raises(ZooError, match=r"Uniform: bound must be positive, got -0\.1; for equal weights use Constant"):
        Uniform(-0.1)
