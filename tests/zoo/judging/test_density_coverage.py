"""Density and coverage against a loop, against their expectations, and where precision is fooled."""

import pytest
import torch
from torch import Tensor

from zoo.judging.density_coverage import density_coverage
from zoo.judging.precision_recall import precision_recall


def by_loop(real: Tensor, fake: Tensor, k: int) -> tuple[float, float]:
    inside, covered = 0, 0
    for i, centre in enumerate(real):
        radius = sorted(float((centre - other).norm()) for j, other in enumerate(real) if j != i)[k - 1]
        within = sum(bool((point - centre).norm() < radius) for point in fake)
        inside, covered = inside + within, covered + (within > 0)
    return inside / (k * len(fake)), covered / len(real)


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("block", [4, 100])
def test_equals_a_loop(k: int, block: int) -> None:
    real, fake = torch.randn(20, 2).double(), torch.randn(15, 2).double() * 0.5 + 0.8
    assert density_coverage(real, fake, k, block) == pytest.approx(by_loop(real, fake, k))


def test_expectations_for_the_true_distribution() -> None:
    generator = torch.Generator().manual_seed(0)
    real, fake = torch.randn(2, 2000, 3, generator=generator).unbind(0)
    density, coverage = density_coverage(real, fake)
    assert density == pytest.approx(1.0, abs=0.05)
    assert coverage == pytest.approx(1 - 2**-5, abs=0.02)


def test_an_outlier_flatters_precision_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    real = torch.cat([torch.randn(199, 2, generator=generator), torch.tensor([[30.0, 30.0]])])
    between = torch.randn(200, 2, generator=generator) + 15
    assert precision_recall(real, between)[0] == 1.0
    assert density_coverage(real, between)[0] < 0.25


def test_modes_that_are_left_out() -> None:
    generator = torch.Generator().manual_seed(0)
    mode = torch.arange(400) % 4
    real = 10 * torch.stack([mode, mode**2], 1) + torch.randn(400, 2, generator=generator)
    one = real[mode == 0][torch.randint(100, (400,), generator=generator)] + 0.1
    assert density_coverage(real, one)[1] < 0.26
