"""PGD training: one step by hand, the function attacked, the radius that grows, and a network that withstands."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from callbacks.adversarial.pgd_training import PGDTraining
from callbacks.optimizers.sam import SAM
from callbacks.optimizers.sgd import SGD
from tests.callbacks.adversarial.adversarial_checks import (
    EPSILON,
    MEAN,
    STD,
    Record,
    check_learns,
    check_strategy,
    small_cnn,
    weights_after_one_step,
)
from tests.callbacks.technique_checks import copy, fit, make_mlp
from zoo.errors import ZooError


def make(epsilon: float = EPSILON) -> PGDTraining:
    return PGDTraining(epsilon, steps=2)


def test_the_step_is_that_of_the_adversarial_images() -> None:
    """The examples lie in the ball in pixels, and the weights move along the gradient of their loss."""
    after, record, before = weights_after_one_step(make)
    (x, y), (seen,) = record.batches[0], record.trained_on
    offset = (seen - x) * STD[0]
    assert offset.abs().max() <= EPSILON + 1e-6
    assert offset.abs().mean() > 0.5 * EPSILON * (x * STD[0] + MEAN[0] > EPSILON).float().mean()
    assert (F.cross_entropy(before(seen), y) > F.cross_entropy(before(x), y)).all()
    F.cross_entropy(before(seen), y).backward()
    for name, weight in before.named_parameters():
        torch.testing.assert_close(after[name], weight.detach() - weight.grad, rtol=1e-4, atol=1e-6)


def test_batch_norm_sees_adversarial_images_once_a_step() -> None:
    module = small_cnn()
    record = Record(module)
    fit(module, SGD(lr=1e-12, weight_decay=0.0), make(), record, max_epochs=1)
    twin = small_cnn().train()
    with torch.no_grad():
        for x in record.trained_on:
            twin(x)
    assert len(record.trained_on) == len(record.batches)
    for (name, buffer), other in zip(module.named_buffers(), twin.buffers()):
        torch.testing.assert_close(buffer, other, rtol=1e-4, atol=1e-5, msg=name)


def test_the_radius_grows_during_warmup() -> None:
    record = Record(module := make_mlp("none", 0))
    fit(module, PGDTraining(EPSILON, steps=1, warmup=0.5), record, max_steps=12, max_epochs=2)
    reached = [((s - b[0]) * STD[0]).abs().max().item() for s, b in zip(record.trained_on, record.batches)]
    expected = [EPSILON * min(1, step / 6) for step in range(1, 13)]
    assert reached == pytest.approx(expected, rel=1e-3)


def test_a_second_evaluation_of_a_batch_keeps_its_examples() -> None:
    record = Record(module := make_mlp("none", 0))
    fit(module, SGD(lr=0.1), make(), SAM(0.5), record, max_steps=2)
    assert len(record.trained_on) == 4
    assert torch.equal(record.trained_on[0], record.trained_on[1])
    assert not torch.equal(record.trained_on[0], record.trained_on[2])


def test_l2_ball() -> None:
    record = Record(module := make_mlp("none", 0))
    fit(module, PGDTraining(0.7, steps=3, norm="l2"), record, max_steps=1)
    lengths = ((record.trained_on[0] - record.batches[0][0]) * STD[0]).flatten(1).norm(dim=1)
    assert 0.5 < lengths.max() <= 0.7 + 1e-5


def test_bf16_trains_on_the_same_images_as_float32() -> None:
    """The attack of the first step is in float32 whatever the precision of the run."""
    seen = []
    for precision in ("32-true", "bf16-mixed"):
        record = Record(module := make_mlp("none", 0))
        fit(module, make(), record, max_steps=1, precision=precision)
        seen.append(record.trained_on[0])
    assert torch.equal(*seen)


def test_holds_what_every_strategy_does(tmp_path: Path) -> None:
    check_strategy(make, tmp_path)


def test_a_fit_without_it_is_without_it() -> None:
    plain, module = make_mlp(), make_mlp()
    start = copy(module)
    fit(module, make(), max_steps=2)
    module.load_state_dict(start)
    fit(module, SGD(lr=0.1), max_steps=3)
    fit(plain, SGD(lr=0.1), max_steps=3)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), module.parameters()))


def test_withstands_where_plain_training_does_not() -> None:
    check_learns(lambda: PGDTraining(EPSILON, steps=3), epochs=6, clean=0.9, robust=0.55)


def test_errors() -> None:
    with pytest.raises(ZooError, match="PGDTraining: steps must be at least 1, got 0"):
        PGDTraining(0.1, steps=0)
    with pytest.raises(ZooError, match=r"PGDTraining: warmup is a share of the run in \[0, 1\), got 1"):
        PGDTraining(0.1, warmup=1.0)
