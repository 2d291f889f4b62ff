"""Adam."""

from pathlib import Path

from callbacks.optimizers.adam import Adam, AdamState, adam_step
from tests.callbacks.optimizers.optimizer_checks import (
    accuracy_on_digits,
    assert_follows,
    assert_resumes,
    loss_ratio_on_a_quadratic,
)


def test_formula() -> None:
    assert_follows(
        Adam(lr=0.1, betas=(0.8, 0.95), eps=1e-3),
        lambda w, g, s: adam_step(w, g, s, 0.1, (0.8, 0.95), 1e-3),
        lambda zero: AdamState(zero, zero),
    )


def test_weight_decay_goes_through_the_gradient() -> None:
    assert_follows(
        Adam(lr=0.1, weight_decay=0.5),
        lambda w, g, s: adam_step(w, g + 0.5 * w, s, 0.1),
        lambda zero: AdamState(zero, zero),
    )


def test_learns(tmp_path: Path) -> None:
    assert loss_ratio_on_a_quadratic(Adam(lr=0.05)) < 1e-3
    assert accuracy_on_digits(Adam(lr=3e-3)) > 0.85
    assert_resumes(lambda: Adam(amsgrad=True), tmp_path)
