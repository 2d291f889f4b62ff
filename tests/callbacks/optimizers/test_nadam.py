"""NAdam, against the formula of its docstring."""

from pathlib import Path

from torch import Tensor

from callbacks.optimizers.nadam import NAdam
from tests.callbacks.optimizers.optimizer_checks import (
    accuracy_on_digits,
    assert_follows,
    assert_resumes,
    loss_ratio_on_a_quadratic,
)

# step, product of the momenta so far, mean, mean square
State = tuple[int, float, Tensor, Tensor]


def nadam_step(w: Tensor, g: Tensor, state: State) -> tuple[Tensor, State]:
    lr, beta1, beta2, decay = 0.1, 0.8, 0.95, 0.01
    t, product, m, v = state
    t += 1
    now, later = (beta1 * (1 - 0.5 * 0.96 ** (i * decay)) for i in (t, t + 1))
    product *= now
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    ahead = later * m / (1 - product * later) + (1 - now) * g / (1 - product)
    w = w * (1 - lr * 0.5)
    return w - lr * ahead / ((v / (1 - beta2**t)).sqrt() + 1e-8), (t, product, m, v)


def test_formula() -> None:
    selection = NAdam(lr=0.1, betas=(0.8, 0.95), weight_decay=0.5, momentum_decay=0.01)
    # torch keeps the product of the momenta in single precision
    assert_follows(selection, nadam_step, lambda zero: (0, 1.0, zero, zero), rtol=1e-6)


def test_learns(tmp_path: Path) -> None:
    assert loss_ratio_on_a_quadratic(NAdam(lr=0.05, weight_decay=0.0)) < 1e-3
    assert accuracy_on_digits(NAdam(lr=3e-3)) > 0.85
    assert_resumes(NAdam, tmp_path)
