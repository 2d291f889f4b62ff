"""Consistency against its formula at the same noise; fakes only where asked for; resume and errors."""

from pathlib import Path

import pytest
import torch

from callbacks.gan.consistency import Consistency
from callbacks.gan.pictures import flip, translate
from callbacks.technique import NoEffect, UnsupportedModule
from tests.callbacks.gan.step_checks import check_unsupported
from tests.gan_checks import assert_resumes, digits, digits_gan, fit, ring_gan
from zoo.errors import ZooError
from zoo.gan import GAN
from zoo.play import Play


def play(gan: GAN) -> Play:
    torch.manual_seed(0)
    real, fake = torch.randn(6, 1, 8, 8), torch.randn(6, 1, 8, 8)
    return Play(real, fake, None, gan.discriminator(real).logits, gan.discriminator(fake).logits, 0)


@pytest.mark.parametrize("fake_weight", [0.0, 4.0])
def test_equals_the_formula_at_the_same_noise(fake_weight: float) -> None:
    gan = digits_gan()
    seen = play(gan)
    torch.manual_seed(1)
    found = Consistency(10.0, fake_weight, shift=0.25, mirror=True).penalty(gan, seen)
    torch.manual_seed(1)
    twin = gan.discriminator(flip(translate(seen.real, 0.25))).logits
    expected = 10 * (seen.real_logits - twin).square().mean()
    if fake_weight:
        twin = gan.discriminator(flip(translate(seen.fake, 0.25))).logits
        expected = expected + 4 * (seen.fake_logits - twin).square().mean()
    torch.testing.assert_close(found, expected)
    assert found > 0


def test_in_a_game(tmp_path: Path) -> None:
    assert_resumes(lambda: [Consistency(1.0, 0.5)], tmp_path, digits_gan, digits)


def test_errors() -> None:
    check_unsupported(Consistency())
    with pytest.raises(UnsupportedModule, match=r"Consistency moves and recolours images"):
        fit(ring_gan(), Consistency())
    with pytest.raises(NoEffect, match=r"weight is 0.0"):
        fit(digits_gan(), Consistency(0.0), data=digits(), max_epochs=2)
    with pytest.raises(ZooError, match=r"Consistency: shift must lie in \(0, 0.5\], or be 0 with mirror, got 0.0"):
        Consistency(shift=0.0)
