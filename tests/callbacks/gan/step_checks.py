"""What the tests of the adversarial steps share: gradients against their closed form, a run, conflicts."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning.pytorch.demos.boring_classes import BoringModel
from torch import Tensor

from callbacks.gan.adversarial_step import AdversarialStep
from callbacks.gan.game_technique import GameTechnique
from callbacks.technique import Conflict, UnsupportedModule
from tests.callbacks.technique_checks import make_mlp
from tests.gan_checks import assert_resumes, copy, fit, ring_gan
from tests.tools import quiet_trainer

REAL = torch.linspace(-3, 3, 7, dtype=torch.double)
FAKE = torch.tensor([0.4, -2.0, 3.0, -0.3, 1.2, 0.0, -4.0], dtype=torch.double)


def gradients(step: AdversarialStep) -> tuple[Tensor, Tensor, Tensor]:
    """(d discriminator's loss / d real logits, / d fake logits, d generator's loss / d fake logits), times B."""
    real, fake = REAL.clone().requires_grad_(), FAKE.clone().requires_grad_()
    on_real, on_fake = torch.autograd.grad(step.discriminator_loss(real, fake), (real, fake))
    (of_generator,) = torch.autograd.grad(step.generator_loss(fake, lambda: REAL), fake)
    return on_real * len(REAL), on_fake * len(FAKE), of_generator * len(FAKE)


def assert_gradients(step: AdversarialStep, on_real: Tensor, on_fake: Tensor, of_generator: Tensor) -> None:
    for found, expected in zip(gradients(step), (on_real, on_fake, of_generator), strict=True):
        torch.testing.assert_close(found, expected)


def check_in_a_game(make: Callable[[], AdversarialStep], other: AdversarialStep, folder: Path) -> None:
    """It trains, resumes, is taken out again, and two of them are a conflict."""
    gan = ring_gan(discriminator_steps=2)
    before = gan.discriminator_loss, gan.generator_loss
    start = copy(gan)
    fit(gan, make())
    assert (gan.discriminator_loss, gan.generator_loss) == before
    assert not gan.slot_owners
    assert all(not torch.equal(value, copy(gan)[name]) for name, value in start.items() if "weight" in name)
    assert_resumes(lambda: [make()], folder, lambda: ring_gan(discriminator_steps=2))
    with pytest.raises(Conflict, match="both want to be the adversarial step; drop one of them"):
        fit(ring_gan(), make(), other)
    check_unsupported(make())


def check_unsupported(technique: GameTechnique) -> None:
    """A network that learns from pairs, or one from elsewhere, is refused by name."""
    name = type(technique).__name__
    with pytest.raises(UnsupportedModule, match=f"^{name} does not support MLP: it needs a GAN; drop {name} or choose"):
        quiet_trainer(callbacks=[technique]).fit(make_mlp())
    with pytest.raises(UnsupportedModule, match=f"{name} does not support BoringModel"):
        quiet_trainer(callbacks=[technique]).fit(BoringModel())
