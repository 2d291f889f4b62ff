"""L2 against torch's weight decay."""

from pathlib import Path

import pytest
import torch

from callbacks.optimizers.sgd import SGD
from callbacks.regularizers.l2 import L2, half_squared_norm
from callbacks.technique import NoEffect
from tests.callbacks.technique_checks import accuracy_in_company, assert_resumes, fit, make_mlp
from zoo.errors import ZooError


def test_equals_torch_norms() -> None:
    weights = [torch.randn(3, 4), torch.randn(2, 2, 3, 3)]
    expected = sum(torch.linalg.vector_norm(weight) ** 2 for weight in weights) / 2
    torch.testing.assert_close(half_squared_norm([*weights]), expected)


def test_equals_the_weight_decay_of_sgd() -> None:
    """torch.optim.SGD adds weight_decay * w to the gradient of the same matrices."""
    penalised, decayed = make_mlp(), make_mlp()
    fit(penalised, SGD(lr=0.1, weight_decay=0.0), L2(0.05), max_epochs=1)
    fit(decayed, SGD(lr=0.1, weight_decay=0.05), max_epochs=1)
    for name, parameter in penalised.named_parameters():
        torch.testing.assert_close(parameter, decayed.get_parameter(name), rtol=1e-3, atol=1e-5)


def test_is_part_of_the_training_loss() -> None:
    plain, penalised = make_mlp(), make_mlp()
    with_, without = (fit(m, SGD(lr=1e-9), *more, max_epochs=1) for m, more in ((penalised, [L2(2.0)]), (plain, [])))
    difference = with_.callback_metrics["train/loss"] - without.callback_metrics["train/loss"]
    matrices = [p for p in plain.parameters() if p.ndim > 1]
    torch.testing.assert_close(difference, 2 * half_squared_norm([*matrices]).detach(), rtol=1e-3, atol=1e-3)


def test_errors_resume_and_learning(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match="L2: strength must not be negative"):
        L2(-1e-3)
    with pytest.raises(NoEffect, match="L2: strength is 0"):
        fit(make_mlp(), L2(0.0), max_steps=1)
    assert_resumes(lambda: [L2(1e-3)], tmp_path)
    assert accuracy_in_company(L2(1e-4)) > 0.93
