import pytest
import torch
from torch import nn

from callbacks.init.orthogonal import Orthogonal, orthogonal_
from zoo.errors import ZooError


def test_equals_torch_under_the_same_seed() -> None:
    torch.manual_seed(3)
    ours = orthogonal_(torch.empty(16, 8, 3, 3), 1.7)
    torch.manual_seed(3)
    assert torch.equal(ours, nn.init.orthogonal_(torch.empty(16, 8, 3, 3), 1.7))


@pytest.mark.parametrize("shape", [(20, 50), (50, 20), (30, 30), (8, 4, 3, 3), (64, 4, 3, 3)])
@pytest.mark.parametrize("gain", [1.0, 2**0.5])
def test_the_shorter_side_is_orthonormal_times_the_gain(shape, gain) -> None:
    torch.manual_seed(0)
    weight = torch.empty(shape)
    Orthogonal(gain).init_(weight)
    matrix = weight.flatten(1)
    product = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    torch.testing.assert_close(product, gain**2 * torch.eye(len(product)), atol=1e-5, rtol=0)


def test_entries_have_mean_zero_over_seeds() -> None:
    """A QR factorisation without the sign correction would give one sign to the diagonal."""
    draws = []
    for seed in range(400):
        torch.manual_seed(seed)
        draws.append(orthogonal_(torch.empty(4, 4)))
    mean = torch.stack(draws).mean(0)
    assert mean.abs().max() < 4 * 0.5 / 400**0.5  # entries have variance 1 / 4


def test_a_weight_in_channels_last_order() -> None:
    weight = torch.empty(8, 4, 3, 3).contiguous(memory_format=torch.channels_last)
    matrix = orthogonal_(weight).flatten(1)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(8), atol=1e-5, rtol=0)


def test_a_deep_linear_network_keeps_every_norm() -> None:
    torch.manual_seed(0)
    x = torch.randn(16, 64)
    out = x
    for _ in range(100):
        out = out @ orthogonal_(torch.empty(64, 64)).T
    torch.testing.assert_close(out.norm(dim=1), x.norm(dim=1), rtol=1e-4, atol=0)


def test_a_gain_of_zero_is_refused() -> None:
    with pytest.raises(ZooError, match="Orthogonal: gain must be positive, got 0"):
        Orthogonal(0)
