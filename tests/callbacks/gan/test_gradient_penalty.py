"""The gradient penalty against the slope of a discriminator that is known; the points between; in a game."""

from pathlib import Path

import pytest
import torch

from callbacks.gan.gradient_penalty import GradientPenalty, between, unit_slope
from tests.callbacks.gan.slope_checks import assert_equals, check_in_a_game, play, quadratic


def test_equals_the_formula_at_the_same_noise() -> None:
    gan, discriminator = quadratic()
    seen = play(gan)
    torch.manual_seed(3)
    found = GradientPenalty(10.0).weighted(gan, seen)
    torch.manual_seed(3)
    share = torch.rand(5)[:, None]
    points = (share * seen.real + (1 - share) * seen.fake).detach()
    expected = 10 * (discriminator.slope(points).norm(dim=1) - 1).square().mean()
    assert_equals(found, expected, discriminator)


def test_points_lie_between_their_pair() -> None:
    real, fake = torch.ones(1000, 3, 2, 2), torch.zeros(1000, 3, 2, 2)
    share = torch.rand(1000)
    points = between(real, fake, share)
    assert torch.equal(points[:, 1, 0, 1], points[:, 0, 1, 1])
    torch.testing.assert_close(points[:, 0, 0, 0], share)


def test_a_flat_discriminator_has_a_finite_gradient() -> None:
    squared = torch.zeros(3, requires_grad=True)
    penalty = unit_slope(squared)
    (gradient,) = torch.autograd.grad(penalty, squared)
    assert penalty.item() == pytest.approx(1, abs=1e-5)
    assert gradient.isfinite().all()


def test_in_a_game(tmp_path: Path) -> None:
    check_in_a_game(GradientPenalty, tmp_path)
