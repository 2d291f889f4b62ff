"""TRADES: one step by hand, an attack that climbs the divergence without a label, and a network that withstands."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from callbacks.adversarial.divergence import divergence
from callbacks.adversarial.trades import TRADES
from tests.callbacks.adversarial.adversarial_checks import (
    EPSILON,
    MEAN,
    STD,
    check_learns,
    check_strategy,
    pixels_of,
    split,
    weights_after_one_step,
)
from tests.callbacks.technique_checks import make_mlp
from zoo.errors import ZooError


def make(epsilon: float = EPSILON) -> TRADES:
    return TRADES(epsilon, beta=3.0, steps=2)


def test_divergence_is_torchs() -> None:
    clean, other = torch.randn(2, 8, 5).unbind()
    kinds = [torch.distributions.Categorical(logits=logits) for logits in (clean, other)]
    torch.testing.assert_close(divergence(clean, other), torch.distributions.kl_divergence(*kinds))
    assert torch.equal(divergence(clean, clean), torch.zeros(8))


def test_the_step_is_that_of_the_objective() -> None:
    after, record, before = weights_after_one_step(make)
    (x, y), (clean, adversarial) = record.batches[0], record.trained_on
    assert torch.equal(clean, x)
    assert ((adversarial - x) * STD[0]).abs().max() <= EPSILON + 1e-6
    p, log_q = before(x).softmax(1), before(adversarial).log_softmax(1)
    apart = (p * (p.log() - log_q)).sum(1).mean()
    (F.cross_entropy(before(x), y) + 3.0 * apart).backward()
    for name, weight in before.named_parameters():
        torch.testing.assert_close(after[name], weight.detach() - weight.grad, rtol=1e-3, atol=1e-5)


def test_the_attack_climbs_the_divergence_and_needs_no_label() -> None:
    module, (x, y) = make_mlp("none", 0), split()
    model = pixels_of(module)
    found = [
        TRADES(EPSILON, steps=5).attack(model, x, labels, EPSILON, torch.Generator().manual_seed(0))
        for labels in (y, (y + 1) % 10)
    ]
    assert torch.equal(*found)
    generator = torch.Generator().manual_seed(0)
    few = TRADES(EPSILON, steps=1, step_size=0.01).attack(model, x, y, EPSILON, generator)
    with torch.no_grad():
        reached = [divergence(model(x), model(images)).mean() for images in (x, few, found[0])]
    assert reached[0] < reached[1] < reached[2]
    assert MEAN[0] > 0


def test_holds_what_every_strategy_does(tmp_path: Path) -> None:
    check_strategy(make, tmp_path)


def test_withstands_where_plain_training_does_not() -> None:
    check_learns(lambda: TRADES(EPSILON, steps=3), epochs=6, clean=0.9, robust=0.55)


def test_errors() -> None:
    with pytest.raises(ZooError, match="TRADES: beta must be positive, got 0"):
        TRADES(0.1, beta=0)
