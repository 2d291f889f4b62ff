"""Adafactor, against the formula of its docstring."""

from pathlib import Path

from torch import Tensor

from callbacks.optimizers.adafactor import Adafactor
from tests.callbacks.optimizers.optimizer_checks import (
    accuracy_on_digits,
    assert_follows,
    assert_resumes,
    loss_ratio_on_a_quadratic,
    make_mlp,
)

State = tuple[int, Tensor, Tensor]


def adafactor_step(w: Tensor, g: Tensor, state: State) -> tuple[Tensor, State]:
    t, row, column = state
    t += 1
    fresh = t**-0.8
    row = (1 - fresh) * row + fresh * (g**2).mean(1, keepdim=True)
    column = (1 - fresh) * column + fresh * (g**2).mean(0, keepdim=True)
    update = g / (row * column / row.mean()).sqrt()
    size = max(1e-3, w.square().mean().sqrt().item())
    update = update / max(1.0, update.square().mean().sqrt().item())
    return w - min(0.1, t**-0.5) * size * update, (t, row, column)


def test_formula() -> None:
    assert_follows(Adafactor(lr=0.1), adafactor_step, lambda zero: (0, zero[:, :1], zero[:1]))


def test_a_matrix_needs_the_memory_of_a_row_and_a_column() -> None:
    network = make_mlp()
    optimizer = Adafactor().build(network)
    network(network.example_input_array).sum().backward()
    optimizer.step()
    state = optimizer.state[network.head.weight]
    assert state["row_var"].numel() + state["col_var"].numel() == sum(network.head.weight.shape)


def test_learns(tmp_path: Path) -> None:
    assert loss_ratio_on_a_quadratic(Adafactor(lr=0.1)) < 0.05
    assert accuracy_on_digits(Adafactor(lr=0.05)) > 0.85
    assert_resumes(Adafactor, tmp_path)
