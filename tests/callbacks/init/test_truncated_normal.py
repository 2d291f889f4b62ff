import math

import pytest
import torch
from torch import nn

from callbacks.init.truncated_normal import TruncatedNormal, truncated_normal_
from zoo.errors import ZooError


def test_equals_torch_under_the_same_seed() -> None:
    torch.manual_seed(3)
    ours = truncated_normal_(torch.empty(16, 8, 3, 3), 0.3)
    torch.manual_seed(3)
    assert torch.equal(ours, nn.init.trunc_normal_(torch.empty(16, 8, 3, 3), 0.0, 0.3, -0.6, 0.6))


@pytest.mark.parametrize("std", [0.02, 1.5])
def test_no_outliers_and_the_standard_deviation_of_the_docstring(std, std_over_seeds) -> None:
    density = math.exp(-2) / math.sqrt(2 * math.pi)
    left = std * math.sqrt(1 - 4 * density / math.erf(math.sqrt(2)))
    assert std_over_seeds(TruncatedNormal(std).init_, 100, 100) == pytest.approx(left, rel=0.01)
    weight = truncated_normal_(torch.empty(300, 300), std)
    assert 1.99 * std < weight.abs().max() <= 2 * std * (1 + 1e-6)


def test_a_std_of_zero_is_refused() -> None:
    with pytest.raises(ZooError, match="TruncatedNormal: std must be positive, got 0"):
        TruncatedNormal(0)
