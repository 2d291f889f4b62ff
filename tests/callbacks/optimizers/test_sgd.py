"""Stochastic gradient descent."""

from pathlib import Path

from callbacks.optimizers.sgd import SGD, sgd_step
from tests.callbacks.optimizers.optimizer_checks import (
    accuracy_on_digits,
    assert_follows,
    assert_resumes,
    loss_ratio_on_a_quadratic,
)


def test_formula() -> None:
    assert_follows(
        SGD(lr=0.1, weight_decay=0.3), lambda w, g, s: (sgd_step(w, g, 0.1, weight_decay=0.3), s), lambda zero: None
    )


def test_learns(tmp_path: Path) -> None:
    assert loss_ratio_on_a_quadratic(SGD(lr=0.1)) < 1e-6
    assert accuracy_on_digits(SGD(lr=0.3)) > 0.85
    assert_resumes(SGD, tmp_path)
