"""RMSprop."""

from pathlib import Path

from callbacks.optimizers.rmsprop import RMSprop, rmsprop_step
from tests.callbacks.optimizers.optimizer_checks import (
    accuracy_on_digits,
    assert_follows,
    assert_resumes,
    loss_ratio_on_a_quadratic,
)


def test_formula() -> None:
    assert_follows(
        RMSprop(lr=0.1, alpha=0.8, eps=1e-3), lambda w, g, s: rmsprop_step(w, g, s, 0.1, 0.8, 1e-3), lambda zero: zero
    )


def test_learns(tmp_path: Path) -> None:
    assert loss_ratio_on_a_quadratic(RMSprop(lr=0.02)) < 1e-2
    assert accuracy_on_digits(RMSprop(lr=3e-3)) > 0.85
    assert_resumes(lambda: RMSprop(momentum=0.5, centered=True), tmp_path)
