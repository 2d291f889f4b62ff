"""The Wasserstein loss against its gradient; clipping after each of the critic's steps."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from callbacks.gan.hinge import Hinge
from callbacks.gan.wasserstein import Wasserstein
from tests.callbacks.gan.step_checks import FAKE, REAL, assert_gradients, check_in_a_game
from tests.gan_checks import fit, ring_gan
from zoo.errors import ZooError


def test_gradient() -> None:
    ones = torch.ones_like(REAL)
    assert_gradients(Wasserstein(), -ones, ones, -torch.ones_like(FAKE))


def largest(network: torch.nn.Module) -> float:
    return max(p.abs().max().item() for p in network.parameters())


def test_every_step_of_the_critic_is_clipped() -> None:
    seen: list[float] = []

    class Watch(Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            # Hooks run in the order in which they were registered, so that this one is behind the clip.
            trainer.optimizers[1].register_step_post_hook(lambda *_: seen.append(largest(pl_module.discriminator)))

    gan = ring_gan(discriminator_steps=5)
    fit(gan, Wasserstein(0.05), Watch(), data=None)
    assert len(seen) == 25
    assert max(seen) <= 0.05 + 1e-8
    assert largest(gan.generator) > 0.05


def test_without_clip_the_critic_is_free() -> None:
    gan = ring_gan()
    fit(gan, Wasserstein(0.0))
    assert largest(gan.discriminator) > 0.1


def test_in_a_game(tmp_path: Path) -> None:
    check_in_a_game(lambda: Wasserstein(0.1), Hinge(), tmp_path)


def test_bad_clip() -> None:
    with pytest.raises(ZooError, match=r"Wasserstein: clip must not be negative, got -1.0"):
        Wasserstein(-1.0)
