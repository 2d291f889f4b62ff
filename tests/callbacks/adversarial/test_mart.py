"""MART: the loss against its formula, one step by hand, class indices alone, and a network that withstands."""

from pathlib import Path

import pytest
import torch

from callbacks.adversarial.mart import MART, mart_loss
from callbacks.augmentation.mixup import MixUp
from callbacks.technique import Conflict, UnsupportedModule
from tests.callbacks.adversarial.adversarial_checks import (
    EPSILON,
    check_learns,
    check_strategy,
    weights_after_one_step,
)
from tests.callbacks.technique_checks import fit, make_mlp
from zoo.batch import Batch
from zoo.errors import ZooError


def make(epsilon: float = EPSILON) -> MART:
    return MART(epsilon, weight=5.0, steps=2)


def by_hand(clean: torch.Tensor, adversarial: torch.Tensor, y: torch.Tensor, weight: float) -> torch.Tensor:
    p, q = clean.double().softmax(1), adversarial.double().softmax(1)
    losses = []
    for i, label in enumerate(y.tolist()):
        others = [q[i, k] for k in range(q.shape[1]) if k != label]
        boosted = -q[i, label].log() - (1 - torch.stack(others).max()).log()
        apart = (p[i] * (p[i] / q[i]).log()).sum()
        losses.append(boosted + weight * apart * (1 - p[i, label]))
    return torch.stack(losses)


def test_the_loss_is_the_formula() -> None:
    clean, adversarial = torch.randn(2, 12, 5).unbind()
    y = torch.randint(0, 5, (12,))
    expected = by_hand(clean, adversarial, y, 5.0).float()
    torch.testing.assert_close(mart_loss(clean, adversarial, y, 5.0), expected)
    torch.testing.assert_close(mart_loss(clean, adversarial, y, 0.0), by_hand(clean, adversarial, y, 0.0).float())


def test_a_network_that_is_sure_and_wrong_has_a_finite_loss() -> None:
    logits = torch.tensor([[100.0, -100.0]], requires_grad=True)
    loss = mart_loss(logits, logits, torch.tensor([1]), 5.0)
    loss.backward()
    assert loss.isfinite().all()
    assert logits.grad.isfinite().all()


def test_the_step_is_that_of_the_loss() -> None:
    after, record, before = weights_after_one_step(make)
    (x, y), (adversarial, clean) = record.batches[0], record.trained_on
    assert torch.equal(clean, x)
    by_hand(before(x), before(adversarial), y, 5.0).mean().backward()
    for name, weight in before.named_parameters():
        torch.testing.assert_close(after[name], weight.detach() - weight.grad, rtol=1e-3, atol=1e-5)


def test_holds_what_every_strategy_does(tmp_path: Path) -> None:
    check_strategy(make, tmp_path, soft_targets=False)


def test_withstands_where_plain_training_does_not() -> None:
    check_learns(lambda: MART(EPSILON, steps=3), epochs=6, clean=0.85, robust=0.55)


def test_errors() -> None:
    with pytest.raises(Conflict, match="MART and MixUp do not go together: its loss is one of class indices"):
        fit(make_mlp(), MixUp(1.0), make(), max_steps=1)
    with pytest.raises(UnsupportedModule, match="MART needs class indices, not mixed or soft targets"):
        make().objective(make_mlp(), Batch(torch.rand(2, 64), torch.rand(2, 10)))
    with pytest.raises(ZooError, match="MART: weight must not be negative, got -1"):
        MART(0.1, weight=-1)
