"""The Fréchet distance: closed forms, SciPy's matrix root, singular covariances, what it does not depend on."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from zoo.judging.frechet import frechet_distance, gaussian_distance


def test_closed_form_where_covariances_commute() -> None:
    """|m - n|^2 + sum (s - t)^2 for diagonal covariances with deviations s and t."""
    s, t = torch.tensor([1.0, 2.0, 0.5]).double(), torch.tensor([3.0, 0.1, 0.5]).double()
    m, n = torch.tensor([1.0, 0.0, -1.0]).double(), torch.tensor([0.0, 0.0, 1.0]).double()
    expected = (m - n).square().sum() + (s - t).square().sum()
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))).Q
    assert gaussian_distance(m, s.square().diag(), n, t.square().diag()) == pytest.approx(expected.item())
    turned = [turn @ s.square().diag() @ turn.mT, turn @ t.square().diag() @ turn.mT]
    assert gaussian_distance(turn @ m, turned[0], turn @ n, turned[1]) == pytest.approx(expected.item())


def test_equals_the_root_of_scipy() -> None:
    x, y = torch.randn(200, 7), torch.randn(150, 7) @ torch.randn(7, 7) + 1
    a, b = (np.cov(z.double().numpy().T) for z in (x, y))
    gap = x.double().mean(0).numpy() - y.double().mean(0).numpy()
    expected = gap @ gap + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(y, x) == pytest.approx(expected, rel=1e-8)


def test_zero_for_the_same_and_shift_alone_counts_squared() -> None:
    x = torch.randn(50, 100)  # a singular covariance: fewer samples than features
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(x, x + 0.5) == pytest.approx(100 * 0.25, rel=1e-4)


def test_the_distance_of_samples_approaches_that_of_the_distributions() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(20_000, 4, generator=generator) * std for std in (1.0, 2.0))
    assert frechet_distance(x, y) == pytest.approx(4.0, rel=0.05)
    assert math.isfinite(frechet_distance(x[:2], y[:2]))
