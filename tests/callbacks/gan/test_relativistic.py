"""The relativistic loss against its gradient; pairs, and no pass for other losses."""

from pathlib import Path

import torch

from callbacks.gan.hinge import Hinge
from callbacks.gan.non_saturating import NonSaturating
from callbacks.gan.relativistic import Relativistic
from tests.callbacks.gan.step_checks import FAKE, REAL, assert_gradients, check_in_a_game
from tests.gan_checks import fit, ring_gan
from zoo.gan import GAN


def test_gradient() -> None:
    doubt = (FAKE - REAL).sigmoid()  # how much the pair is taken for the wrong way round
    assert_gradients(Relativistic(), -doubt, doubt, -(REAL - FAKE).sigmoid())


def test_logits_count_only_relative_to_each_other() -> None:
    step = Relativistic()
    torch.testing.assert_close(step.discriminator_loss(REAL + 5, FAKE + 5), step.discriminator_loss(REAL, FAKE))
    assert step.discriminator_loss(REAL, FAKE) != step.discriminator_loss(REAL, FAKE.flip(0))  # pairs matter


def test_real_samples_are_judged_again_only_where_they_are_asked_for() -> None:
    passes = []
    for step in (NonSaturating(), Relativistic()):
        gan = ring_gan()
        count = [0]
        gan.discriminator.register_forward_hook(lambda *_, count=count: count.__setitem__(0, count[0] + 1))
        fit(gan, step, limit_val_batches=0)
        passes.append(count[0] / 5)
    assert passes == [3, 4]
    assert isinstance(gan, GAN)


def test_in_a_game(tmp_path: Path) -> None:
    check_in_a_game(Relativistic, Hinge(), tmp_path)
