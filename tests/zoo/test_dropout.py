"""Drop-path: identity where it should be, the rate and the expectation over seeds."""

import pytest
import torch

from zoo.errors import ZooError
from zoo.layers.dropout import DropPath, drop_path


def test_identity_at_zero_and_in_evaluation() -> None:
    x = torch.randn(4, 3)
    assert drop_path(x, 0.0, training=True) is x
    assert drop_path(x, 0.9, training=False) is x
    assert DropPath(0.9).eval()(x) is x


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_rate_and_expectation(p: float) -> None:
    samples, seeds = 2000, 10
    kept = torch.zeros(())
    for seed in range(seeds):
        torch.manual_seed(seed)
        out = DropPath(p)(torch.full((samples, 2, 3, 3), 3.0))
        flat = out.flatten(1)
        assert (flat == flat[:, :1]).all(), "a branch is dropped as a whole"
        torch.testing.assert_close(flat[:, 0].unique(), torch.tensor([0.0, 3 / (1 - p)]))
        kept += (flat[:, 0] > 0).float().mean() / seeds
    # Five standard deviations of a mean of Bernoulli variables.
    assert abs(kept - (1 - p)) < 5 * (p * (1 - p) / (samples * seeds)) ** 0.5


def test_masks_differ_from_sample_to_sample_and_by_seed() -> None:
    x = torch.ones(64, 2)
    masks = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        masks.append(drop_path(x, 0.5, True))
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])
    assert len(masks[0].unique()) == 2


def test_gradient_flows_through_kept_branches_only() -> None:
    torch.manual_seed(0)
    x = torch.ones(16, 2, requires_grad=True)
    out = drop_path(x, 0.5, True)
    out.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, out.detach())


@pytest.mark.parametrize("p", [-0.1, 1.0, 1.5])
def test_a_probability_out_of_range(p: float) -> None:
    with pytest.raises(ZooError, match=rf"^drop path probability must lie in \[0, 1\), got {p}"):
        DropPath(p)
