"""Gradient descent with momentum."""

from pathlib import Path

import pytest

from callbacks.optimizers.momentum import Momentum, momentum_step
from tests.callbacks.optimizers.optimizer_checks import (
    accuracy_on_digits,
    assert_follows,
    assert_resumes,
    loss_ratio_on_a_quadratic,
)


@pytest.mark.parametrize("nesterov", [False, True])
def test_formula(nesterov: bool) -> None:
    assert_follows(
        Momentum(lr=0.1, momentum=0.8, nesterov=nesterov, weight_decay=0.3),
        lambda w, g, v: momentum_step(w, g, v, 0.1, 0.8, nesterov, weight_decay=0.3),
        lambda zero: zero,
    )


def test_learns(tmp_path: Path) -> None:
    assert loss_ratio_on_a_quadratic(Momentum(lr=0.05)) < 1e-4
    assert accuracy_on_digits(Momentum()) > 0.85
    assert_resumes(lambda: Momentum(nesterov=True), tmp_path)
