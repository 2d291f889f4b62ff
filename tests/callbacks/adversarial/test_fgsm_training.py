"""FGSM training: the step's length by hand, and a guard that sees catastrophic overfitting and acts as it was told."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch.nn import functional as F

from callbacks.adversarial.fgsm_training import FGSMTraining
from callbacks.optimizers.sgd import SGD
from tests.callbacks.adversarial.adversarial_checks import (
    EPSILON,
    MEAN,
    STD,
    check_learns,
    check_strategy,
    weights_after_one_step,
)
from tests.callbacks.technique_checks import assert_resumes, assert_same, copy, fit, make_mlp
from zoo.errors import ZooError


def make(epsilon: float = EPSILON) -> FGSMTraining:
    return FGSMTraining(epsilon)


def test_examples_are_one_step_from_a_start_in_the_ball() -> None:
    """x' = P(x + u + 1.25 epsilon sign), u uniform: a pixel with room moves at least a quarter of epsilon."""
    after, record, before = weights_after_one_step(make)
    (x, y), (seen,) = record.batches[0], record.trained_on
    offset, pixels = (seen - x) * STD[0], x * STD[0] + MEAN[0]
    assert offset.abs().max() <= EPSILON + 1e-6
    inputs = x.clone().requires_grad_()
    slope = torch.autograd.grad(F.cross_entropy(before(inputs), y, reduction="sum"), inputs)[0]
    room = (pixels > EPSILON) & (pixels < 1 - EPSILON) & (slope.abs() > slope.abs().median())
    agree = (offset.sign() == slope.sign())[room].float().mean()
    assert agree > 0.9  # the gradient is taken at x + u, so not quite all
    assert offset[room].abs().min() >= 0.25 * EPSILON - 1e-5
    F.cross_entropy(before(seen), y).backward()
    for name, weight in before.named_parameters():
        torch.testing.assert_close(after[name], weight.detach() - weight.grad, rtol=1e-4, atol=1e-6)


def collapsing(technique: FGSMTraining, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """The guard's two attacks give what they give in a collapse, from step ``at`` on."""
    import callbacks.adversarial.fgsm_training as file

    calls: list[int] = []

    def withstands(model: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        look = (len(calls) + 1) // 2
        fast = len(calls) % 2 == 1
        return torch.full_like(y, fast or look * technique.check_every < at, dtype=torch.bool)

    monkeypatch.setattr(file, "withstands", withstands)


@pytest.mark.parametrize("action", ["stop", "restore", "lower"])
def test_the_guard_acts_as_it_was_told(
    action: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    technique = FGSMTraining(EPSILON, check_every=2, on_collapse=action)  # type: ignore[arg-type]
    collapsing(technique, monkeypatch, at=6)
    module, saved = make_mlp(), {}

    class Watch(Callback):
        def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
            saved[trainer.global_step] = copy(pl_module)

    trainer = fit(module, technique, SGD(lr=0.1), Watch(), batch_size=100, max_steps=7)
    printed = capsys.readouterr().out
    assert "catastrophic overfitting at step 6: accuracy 100% under the single step it trains with, 0% under" in printed
    if action == "lower":
        assert trainer.global_step == 7
        assert technique._shrunk == 0.5
        assert "the step is now 0.625 epsilon" in printed
        assert_same(saved[6], saved[4])  # weights of the last good look, after step 4
    else:
        assert trainer.global_step == 6
        assert "training ends here" in printed
        same = all(torch.equal(value, saved[4][name]) for name, value in copy(module).items())
        assert same == (action == "restore")


def test_the_guard_says_nothing_of_a_network_that_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    trainer = fit(make_mlp(), FGSMTraining(EPSILON, check_every=3), batch_size=64, max_epochs=3)
    assert "catastrophic" not in capsys.readouterr().out
    assert trainer.current_epoch == 3


def test_it_sees_a_masked_network_for_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Steps of twice epsilon on a wide radius, where single-step training is known to fail."""
    module = make_mlp("batch", 0, (256, 256))
    technique = FGSMTraining(0.4, step=2.0, check_every=20, on_collapse="stop")
    fit(module, technique, SGD(lr=0.3, weight_decay=0.0), batch_size=32, max_epochs=12)
    assert "catastrophic overfitting" in capsys.readouterr().out


def test_holds_what_every_strategy_does(tmp_path: Path) -> None:
    check_strategy(make, tmp_path)


def test_resumes_to_the_bit_with_the_guard(tmp_path: Path) -> None:
    assert_resumes(lambda: [FGSMTraining(EPSILON, check_every=2, tolerance=0.01, on_collapse="lower")], tmp_path)


def test_withstands_where_plain_training_does_not() -> None:
    check_learns(make, epochs=6, clean=0.9, robust=0.5)


def test_errors() -> None:
    with pytest.raises(ZooError, match=r"step is positive, check_every 0 or more and tolerance in \(0, 1\]"):
        FGSMTraining(0.1, step=0)
