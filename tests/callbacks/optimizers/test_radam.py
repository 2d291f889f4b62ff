"""RAdam, against the formula of its docstring."""

from pathlib import Path

from torch import Tensor

from callbacks.optimizers.radam import RAdam
from tests.callbacks.optimizers.optimizer_checks import (
    accuracy_on_digits,
    assert_follows,
    assert_resumes,
    loss_ratio_on_a_quadratic,
)

State = tuple[int, Tensor, Tensor]


def radam_step(w: Tensor, g: Tensor, state: State) -> tuple[Tensor, State]:
    lr, beta1, beta2, decay = 0.1, 0.8, 0.95, 0.5
    t, m, v = state
    t += 1
    w = w * (1 - lr * decay)
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    rho_inf = 2 / (1 - beta2) - 1
    rho = rho_inf - 2 * t * beta2**t / (1 - beta2**t)
    step = m / (1 - beta1**t)
    if rho > 5:
        rectified = (rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho)
        step = step * rectified**0.5 * (1 - beta2**t) ** 0.5 / (v.sqrt() + 1e-8)
    return w - lr * step, (t, m, v)


def test_formula() -> None:
    selection = RAdam(lr=0.1, betas=(0.8, 0.95), weight_decay=0.5)
    assert_follows(selection, radam_step, lambda zero: (0, zero, zero))


def test_learns(tmp_path: Path) -> None:
    assert loss_ratio_on_a_quadratic(RAdam(lr=0.1, weight_decay=0.0)) < 1e-2
    assert accuracy_on_digits(RAdam(lr=1e-2)) > 0.85
    assert_resumes(RAdam, tmp_path)
