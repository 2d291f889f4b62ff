"""Distances by blocks, radii and nearest points against plain loops; the digits that a matrix product may lose."""

import pytest
import torch

from zoo.errors import ZooError
from zoo.judging.neighbours import distance_blocks, nearest, neighbour_radii
from zoo.judging.spread import mean_distance


@pytest.mark.parametrize("block", [1, 5, 100])
def test_equal_a_loop(block: int) -> None:
    x, y = torch.randn(13, 4).double(), torch.randn(11, 4).double()
    exact = torch.tensor([[float((a - b).norm()) for b in y] for a in x], dtype=torch.float64)
    blocks = list(distance_blocks(x, y, block))
    assert all(len(distances) <= block for _, distances in blocks)
    torch.testing.assert_close(torch.cat([distances for _, distances in blocks]), exact)
    assert nearest(x, y, block).tolist() == exact.argmin(1).tolist()
    among = torch.tensor([[float((a - b).norm()) for b in x] for a in x], dtype=torch.float64)
    for k in (1, 3):
        expected = [sorted(row[:i] + row[i + 1 :])[k - 1] for i, row in enumerate(among.tolist())]
        assert neighbour_radii(x, k, block).tolist() == pytest.approx(expected)
    assert mean_distance(x, block) == pytest.approx(among.sum().item() / (13 * 12))


def test_close_points_far_from_the_origin() -> None:
    x = 1000 + 1e-4 * torch.randn(50, 2, dtype=torch.float64)
    exact = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    torch.testing.assert_close(torch.cat([d for _, d in distance_blocks(x, x)]), exact, rtol=1e-6, atol=1e-9)


def test_too_few() -> None:
    with pytest.raises(ZooError, match="3 samples have no 3 neighbours each; judge more samples"):
        neighbour_radii(torch.randn(3, 2), 3)
