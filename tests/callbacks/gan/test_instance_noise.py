"""Instance noise: its size over the run, both players, resume, no effect."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from callbacks.gan.game_technique import linear_strength
from callbacks.gan.instance_noise import InstanceNoise
from callbacks.technique import NoEffect
from tests.callbacks.gan.step_checks import check_unsupported
from tests.gan_checks import assert_resumes, fit, ring_gan
from zoo.errors import ZooError
from zoo.gan import GAN


def test_strengths_fall_on_a_straight_line() -> None:
    found = [linear_strength(k / 10, 1.0, 0.2, 0.5) for k in range(11)]
    assert found == pytest.approx([1.0, 0.84, 0.68, 0.52, 0.36, *[0.2] * 6])
    assert linear_strength(0.9, 1.0, None, 0.5) == 1.0


def test_both_players_see_noise_that_falls() -> None:
    seen: list[tuple[int, float]] = []

    class Watch(Callback):
        def on_fit_start(self, trainer: Any, pl_module: GAN) -> None:
            noisy = pl_module.discriminator_transforms["InstanceNoise"]

            def watched(module: GAN, x: torch.Tensor) -> torch.Tensor:
                out = noisy(module, x)
                seen.append((trainer.global_step, (out - x).std().item()))
                return out

            pl_module.discriminator_transforms["InstanceNoise"] = watched

    gan = ring_gan()
    fit(gan, InstanceNoise(0.5, 0.0, share=0.5), Watch(), data=None, max_epochs=2)
    assert [step for step, _ in seen] == [step for step in range(10) for _ in range(3)]  # real, fake, the generator's
    for step, std in seen:
        assert std == pytest.approx(0.5 * max(0.0, 1 - step / 5), rel=0.25, abs=1e-6)
    assert not gan.discriminator_transforms


def test_resumes(tmp_path: Path) -> None:
    assert_resumes(lambda: [InstanceNoise(0.3)], tmp_path)


def test_errors() -> None:
    check_unsupported(InstanceNoise())
    with pytest.raises(NoEffect, match=r"std is 0.0; it has to be positive"):
        fit(ring_gan(), InstanceNoise(0.0), max_epochs=2)
    with pytest.raises(ZooError, match=r"InstanceNoise: std must be finite and not negative, got -0.1"):
        InstanceNoise(-0.1)
    with pytest.raises(ZooError, match=r"needs a run with an end; set --trainer.max_epochs or --trainer.max_steps"):
        fit(ring_gan(), InstanceNoise(), max_epochs=-1, max_time={"seconds": 1})
