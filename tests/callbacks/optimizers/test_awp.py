"""AWP: the perturbation against its formula, a step by hand on images that stay, and robust digits."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from callbacks.adversarial.pgd_training import PGDTraining
from callbacks.optimizers.awp import AWP, weight_perturbation
from callbacks.optimizers.sam import SAM
from callbacks.optimizers.sgd import SGD
from callbacks.technique import Conflict, NoEffect
from tests.callbacks.adversarial.adversarial_checks import EPSILON, Record, check_learns
from tests.callbacks.technique_checks import accuracy_in_company, assert_resumes, copy, fit, make_mlp
from zoo.errors import ZooError


def test_the_perturbation_is_the_formula() -> None:
    weights = [nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(4)), nn.Parameter(torch.zeros(2, 2))]
    for weight in weights:
        weight.grad = torch.randn_like(weight)
    matrix, bias, zero = weight_perturbation([*weights], 0.3)
    assert matrix.norm().item() == pytest.approx(0.3 * weights[0].norm().item(), rel=1e-5)
    assert F.cosine_similarity(matrix.flatten(), weights[0].grad.flatten(), dim=0).item() == pytest.approx(1)
    assert bias.abs().max() == 0
    assert zero.abs().max() == 0
    weights[0].grad.zero_()
    assert weight_perturbation(weights[:1], 0.3)[0].abs().max() == 0


def test_the_step_is_that_of_the_papers_algorithm() -> None:
    """Images at w; v at these images; the gradient at w + v, for the same images."""
    module, before = make_mlp("none", 0), make_mlp("none", 0)
    record = Record(module)
    fit(module, SGD(lr=1.0, weight_decay=0.0), PGDTraining(EPSILON, steps=2), AWP(0.1), record, max_steps=1)
    y, (seen, again) = record.batches[0][1], record.trained_on
    assert torch.equal(seen, again)
    F.cross_entropy(before(seen), y).backward()
    weights = [p.detach().clone() for p in before.parameters()]
    with torch.no_grad():
        for p, v in zip(before.parameters(), weight_perturbation(list(before.parameters()), 0.1)):
            p += v
    before.zero_grad()
    F.cross_entropy(before(seen), y).backward()
    after = copy(module)
    for (name, p), weight in zip(before.named_parameters(), weights):
        torch.testing.assert_close(after[name], weight - p.grad, rtol=1e-4, atol=1e-6)


def test_resumes_to_the_bit(tmp_path: Path) -> None:
    assert_resumes(lambda: [PGDTraining(EPSILON, steps=1), AWP(0.01)], tmp_path)


def test_a_second_fit_and_one_without_it() -> None:
    record, technique = Record(module := make_mlp()), AWP()
    fit(module, technique, max_steps=1)
    fit(module, technique, max_steps=1)
    assert len(record.trained_on) == 4
    fit(module, max_steps=1)
    assert len(record.trained_on) == 5


def test_learns_alone_and_beside_a_strategy() -> None:
    assert accuracy_in_company(AWP(0.01)) > 0.93
    check_learns(lambda: PGDTraining(EPSILON, steps=3), epochs=6, clean=0.9, robust=0.5, beside=AWP(0.01))


def test_errors() -> None:
    with pytest.raises(ZooError, match="gamma must not be negative, got -1"):
        AWP(-1.0)
    with pytest.raises(NoEffect, match="AWP: gamma is 0"):
        fit(make_mlp(), AWP(0.0), max_steps=1)
    with pytest.raises(Conflict, match="SAM and AWP do not go together: both perturb the weights of a step; drop"):
        fit(make_mlp(), SAM(), AWP(), max_steps=1)
    with pytest.raises(Conflict, match=r"AWP and trainer\.accumulate_grad_batches=2"):
        fit(make_mlp(), AWP(), accumulate_grad_batches=2, max_steps=1)
