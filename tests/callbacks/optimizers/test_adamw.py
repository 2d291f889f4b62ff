"""AdamW."""

from pathlib import Path

from callbacks.optimizers.adam import AdamState
from callbacks.optimizers.adamw import AdamW, adamw_step
from tests.callbacks.optimizers.optimizer_checks import (
    accuracy_on_digits,
    assert_follows,
    assert_resumes,
    loss_ratio_on_a_quadratic,
)
from zoo.module import SupervisedModule


def test_formula() -> None:
    assert_follows(
        AdamW(lr=0.1, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.5),
        lambda w, g, s: adamw_step(w, g, s, 0.1, (0.8, 0.95), 1e-3, 0.5),
        lambda zero: AdamState(zero, zero),
    )


def test_learns(tmp_path: Path) -> None:
    assert loss_ratio_on_a_quadratic(AdamW(lr=0.05, weight_decay=0.0)) < 1e-3
    assert accuracy_on_digits(AdamW(lr=3e-3)) > 0.85
    assert_resumes(AdamW, tmp_path)


def for_matrix(module: SupervisedModule, folder: Path) -> AdamW:
    """As the fragment has it, it is what a run without an optimizer gets anyway."""
    return AdamW(lr=0.01)
