"""Improved precision and recall against a loop, and on sets where they are known."""

import pytest
import torch
from torch import Tensor

from zoo.judging.precision_recall import precision_recall


def share_within(points: Tensor, of: Tensor, k: int) -> float:
    inside = 0
    for point in points:
        for i, centre in enumerate(of):
            radius = sorted(float((centre - other).norm()) for j, other in enumerate(of) if j != i)[k - 1]
            if (point - centre).norm() <= radius:
                inside += 1
                break
    return inside / len(points)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("block", [4, 100])
def test_equals_a_loop(k: int, block: int) -> None:
    real, fake = torch.randn(20, 2).double(), torch.randn(15, 2).double() * 0.5 + 0.8
    precision, recall = precision_recall(real, fake, k, block)
    assert precision == pytest.approx(share_within(fake, real, k))
    assert recall == pytest.approx(share_within(real, fake, k))
    assert precision_recall(fake, real, k, block) == (recall, precision)


def test_known_sets() -> None:
    generator = torch.Generator().manual_seed(0)
    modes = torch.tensor([[0.0, 0.0], [10.0, 0.0]])
    real = torch.cat([mode + torch.randn(100, 2, generator=generator) for mode in modes])
    half = torch.randn(200, 2, generator=generator)
    precision, recall = precision_recall(real, half)
    assert precision > 0.9  # all of what there is looks real,
    assert 0.4 < recall < 0.51  # and one of two modes is there
    assert precision_recall(real, half + 100) == (0.0, 0.0)
    assert precision_recall(real, real) == (1.0, 1.0)
