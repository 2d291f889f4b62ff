"""R1 against the slope of a discriminator that is known; in a game."""

from pathlib import Path

import torch

from callbacks.gan.r1 import R1
from callbacks.gan.slopes import slopes
from tests.callbacks.gan.slope_checks import assert_equals, check_in_a_game, play, quadratic


def test_equals_the_formula() -> None:
    gan, discriminator = quadratic()
    seen = play(gan)
    expected = 3.0 / 2 * discriminator.slope(seen.real.detach()).square().sum(1).mean()
    assert_equals(R1(3.0).weighted(gan, seen), expected, discriminator)


def test_is_float32_under_autocast() -> None:
    gan, discriminator = quadratic()
    seen = play(gan)
    expected = R1().penalty(gan, seen)
    with torch.autocast("cpu", torch.bfloat16):
        rough = seen._replace(real_logits=gan.discriminator(seen.real).logits)
        found = R1().penalty(gan, rough)
        assert slopes(gan, seen.real, None, rough.real_logits).dtype == torch.float32
    assert_equals(found, expected, discriminator)


def test_in_a_game(tmp_path: Path) -> None:
    check_in_a_game(R1, tmp_path)
