"""DRAGAN against the slope of a discriminator that is known; in a game."""

from pathlib import Path

import pytest
import torch

from callbacks.gan.dragan import DRAGAN
from tests.callbacks.gan.slope_checks import assert_equals, check_in_a_game, play, quadratic
from zoo.errors import ZooError


def test_equals_the_formula_at_the_same_noise() -> None:
    gan, discriminator = quadratic()
    seen = play(gan)
    torch.manual_seed(3)
    found = DRAGAN(2.0, noise=0.3).weighted(gan, seen)
    torch.manual_seed(3)
    near = seen.real.detach() + 0.3 * seen.real.detach().std() * torch.randn(5, 2)
    expected = 2 * (discriminator.slope(near).norm(dim=1) - 1).square().mean()
    assert_equals(found, expected, discriminator)


def test_in_a_game(tmp_path: Path) -> None:
    check_in_a_game(DRAGAN, tmp_path)


def test_bad_noise() -> None:
    with pytest.raises(ZooError, match=r"DRAGAN: noise must be positive and finite, got 0.0"):
        DRAGAN(noise=0.0)
