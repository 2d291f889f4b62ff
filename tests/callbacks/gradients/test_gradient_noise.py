"""Gradient noise: its variance step by step, and that it is a function of seed and step."""

from pathlib import Path

import pytest
import torch

from callbacks.gradients.gradient_noise import GradientNoise, noise_variance
from callbacks.optimizers.sgd import SGD
from callbacks.technique import NoEffect
from tests.callbacks.technique_checks import accuracy_in_company, assert_resumes, assert_same, copy, fit, make_mlp
from zoo.errors import ZooError
from zoo.mlp import MLP


def test_variance_of_the_paper() -> None:
    assert noise_variance(0, 0.3, 0.55) == 0.3
    assert noise_variance(99, 1.0, 0.5) == pytest.approx(0.1)
    assert noise_variance(50, 0.3, 0.0) == 0.3


def noisy(eta: float = 1.0, steps: int = 1, gamma: float = 0.55) -> MLP:
    module = make_mlp("none", 0)
    fit(module, SGD(lr=1.0, weight_decay=0.0), *([GradientNoise(eta, gamma)] if eta else []), max_steps=steps)
    return module


def test_moments_of_what_is_added() -> None:
    """One step at learning rate 1 with and without noise differs by the noise: N(0, 0.25) on all parameters."""
    noise = torch.cat([(a - b).flatten() for a, b in zip(noisy(0.25).parameters(), noisy(0.0).parameters())])
    n = len(noise)
    assert abs(noise.mean()) < 4 * 0.5 / n**0.5
    assert abs(noise.var() / 0.25 - 1) < 4 * (2 / n) ** 0.5
    assert abs((noise.abs() < 0.5).float().mean() - 0.6827) < 4 * (0.6827 * 0.3173 / n) ** 0.5


def test_falls_from_step_to_step() -> None:
    """With gamma 60 the second step is without noise, so that it is one of plain SGD from the same place."""
    one, two = noisy(0.01, 1, 60), noisy(0.01, 2, 60)
    moved = torch.cat([(a - b).flatten() for a, b in zip(two.parameters(), one.parameters())])
    assert (moved == 0).float().mean() > 0.01  # pixels that are always empty have no gradient, and here no noise
    wide = noisy(0.01, 2, 0)
    moved = torch.cat([(a - b).flatten() for a, b in zip(wide.parameters(), one.parameters())])
    assert (moved == 0).float().mean() < 0.01


def test_is_a_function_of_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert_same(copy(noisy()), copy(noisy()))
    first = noisy()
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    assert not torch.equal(first.head.weight, noisy().head.weight)


def test_errors_resume_and_learning(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match=r"eta and gamma must not be negative, got -1 and 0\.55"):
        GradientNoise(-1)
    with pytest.raises(NoEffect, match="GradientNoise: eta is 0"):
        fit(make_mlp(), GradientNoise(0), max_steps=1)
    assert_resumes(lambda: [GradientNoise(1e-3)], tmp_path)
    assert accuracy_in_company(GradientNoise(1e-4)) > 0.93
