"""Free training: two batches by hand, a perturbation that carries over and is resumed, and what it counts."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch.nn import functional as F

from callbacks.adversarial.free_training import FreeTraining
from callbacks.adversarial.pgd_training import PGDTraining
from callbacks.augmentation.mixup import MixUp
from callbacks.optimizers.sam import SAM
from callbacks.optimizers.selection import OptimizerSelection
from callbacks.optimizers.sgd import SGD
from callbacks.technique import Conflict, NoEffect
from tests.callbacks.adversarial.adversarial_checks import EPSILON, MEAN, STD, Record, check_learns
from tests.callbacks.technique_checks import assert_resumes, fit, make_mlp
from zoo.errors import ZooError


def test_equals_the_algorithm() -> None:
    """Three replays of two batches: every pass moves the weights and the perturbation, which carries over."""
    record = Record(module := make_mlp("none", 0))
    fit(module, SGD(lr=0.1, weight_decay=0.0), FreeTraining(EPSILON, replays=3), record, max_steps=2)
    expected, offset = make_mlp("none", 0), torch.zeros(200, 1, 8, 8)
    seen = []
    for x, y in record.batches[:2]:
        pixels = (x * STD[0] + MEAN[0]).clamp(0, 1)
        for _ in range(3):
            image = (pixels + offset).clamp(0, 1).requires_grad_()
            inputs = (image - MEAN[0]) / STD[0]
            seen.append(inputs.detach())
            expected.zero_grad()
            F.cross_entropy(expected(inputs), y).backward()
            with torch.no_grad():
                for weight in expected.parameters():
                    weight -= 0.1 * weight.grad
            offset = (offset + EPSILON * image.grad.sign()).clamp(-EPSILON, EPSILON)
    assert len(record.trained_on) == 6
    for ours, theirs in zip(record.trained_on, seen):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(module.parameters(), expected.parameters()):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_metrics_and_steps_count_batches() -> None:
    class Count(Callback):
        passes = 0

        def on_after_backward(self, trainer: Trainer, pl_module: Any) -> None:
            self.passes += 1

    module, count = make_mlp(), Count()
    trainer = fit(module, FreeTraining(EPSILON, replays=4), count, max_epochs=1)
    assert count.passes == 4 * trainer.global_step == 4 * trainer.num_training_batches
    assert module._train_meter.count == 0  # read and emptied at the epoch's end
    assert 0 < trainer.callback_metrics["train/accuracy"] < 0.6  # of first replays, with weights that know nothing yet


def test_resumes_to_the_bit(tmp_path: Path) -> None:
    assert_resumes(lambda: [FreeTraining(EPSILON, replays=2)], tmp_path)
    assert_resumes(lambda: [MixUp(), FreeTraining(EPSILON, replays=3, warmup=0.4)], tmp_path)


def test_a_second_fit_begins_without_a_perturbation() -> None:
    technique, record = FreeTraining(EPSILON, replays=2), Record(module := make_mlp("none", 0))
    fit(module, technique, max_steps=2)
    record.trained_on.clear()
    fit(module, technique, record, max_steps=1)
    torch.testing.assert_close(record.trained_on[0], record.batches[0][0], rtol=1e-4, atol=1e-4)
    record.trained_on.clear()
    fit(module, max_steps=2)
    assert len(record.trained_on) == 2  # without it a batch is seen once


def test_withstands_where_plain_training_does_not() -> None:
    check_learns(lambda: FreeTraining(EPSILON, replays=3), epochs=6, clean=0.9, robust=0.5)


def test_errors() -> None:
    with pytest.raises(ZooError, match="replays must be at least 2, got 1"):
        FreeTraining(0.1, replays=1)
    with pytest.raises(NoEffect, match="FreeTraining: epsilon is 0"):
        fit(make_mlp(), FreeTraining(0.0), max_steps=1)
    with pytest.raises(Conflict, match="PGDTraining and FreeTraining both want the slot objective"):
        fit(make_mlp(), PGDTraining(0.1), FreeTraining(0.1), max_steps=1)
    with pytest.raises(Conflict, match="FreeTraining and SAM do not go together"):
        fit(make_mlp(), SAM(), FreeTraining(0.1), max_steps=1)
    with pytest.raises(Conflict, match="FreeTraining and LBFGS do not go together"):
        fit(make_mlp(), OptimizerSelection("LBFGS", weight_decay=0.0), FreeTraining(0.1), max_steps=1)
    with pytest.raises(Conflict, match=r"FreeTraining and trainer\.accumulate_grad_batches=2"):
        fit(make_mlp(), FreeTraining(0.1), accumulate_grad_batches=2, max_steps=1)
