"""Adagrad."""

from pathlib import Path

from callbacks.optimizers.adagrad import Adagrad, adagrad_step
from tests.callbacks.optimizers.optimizer_checks import (
    accuracy_on_digits,
    assert_follows,
    assert_resumes,
    loss_ratio_on_a_quadratic,
)


def test_formula() -> None:
    assert_follows(Adagrad(lr=0.1), lambda w, g, s: adagrad_step(w, g, s, 0.1), lambda zero: zero)
    warm = Adagrad(lr=0.1, initial_accumulator_value=2.0)
    assert_follows(warm, lambda w, g, s: adagrad_step(w, g, s, 0.1), lambda zero: zero + 2)


def test_learns(tmp_path: Path) -> None:
    assert loss_ratio_on_a_quadratic(Adagrad(lr=0.3)) < 1e-3
    assert accuracy_on_digits(Adagrad(lr=0.03)) > 0.85
    assert_resumes(lambda: Adagrad(lr_decay=0.1), tmp_path)
