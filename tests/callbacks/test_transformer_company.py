"""Techniques that are not made for transformers, on one: they train it together, resume to the bit, or say why not."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from callbacks.augmentation.cutmix import CutMix
from callbacks.augmentation.mixup import MixUp
from callbacks.averaging.ema import EMA
from callbacks.gradients.gradient_clipping import GradientClipping
from callbacks.init.gpt2 import GPT2
from callbacks.optimizers.adamw import AdamW
from callbacks.optimizers.muon import Muon
from callbacks.regularizers.z_loss import ZLoss
from callbacks.sampling.sequence_length_warmup import SequenceLengthWarmup
from callbacks.schedules.wsd import WSD
from callbacks.technique import UnsupportedModule
from tests.callbacks.sequence_checks import check_resume, fit, vocabulary_size
from tests.callbacks.transformer_checks import gpt, tokens, train
from zoo.task import LanguageModeling


def company(optimizer: Callback) -> list[Callback]:
    return [GPT2(), optimizer, WSD(warmup=0.2), EMA(0.9), GradientClipping(1.0), ZLoss(),
            SequenceLengthWarmup(start=0.5, until=0.5)]  # fmt: skip


@pytest.mark.parametrize("optimizer", [AdamW, Muon])
def test_all_together_train_and_resume(optimizer: Any, tmp_path: Path) -> None:
    check_resume(lambda: gpt(dropout=0.1), tokens, lambda: company(optimizer()), tmp_path)


def test_adamw_decays_matrices_alone() -> None:
    module = gpt()
    trainer = train(module, AdamW(weight_decay=0.3), steps=1)
    spared = {id(p) for group in trainer.optimizers[0].param_groups if not group["weight_decay"]
              for p in group["params"]}  # fmt: skip
    assert spared == {id(p) for p in module.parameters() if p.ndim < 2}
    assert sum(len(group["params"]) for group in trainer.optimizers[0].param_groups) == len([*module.parameters()])


def test_smoothed_labels_are_in_the_training_loss_alone() -> None:
    size = vocabulary_size()
    plain, smooth = gpt(), gpt()
    smooth.task = LanguageModeling(size, "character", label_smoothing=0.1)
    runs = [train(module, AdamW(lr=1e-2), epochs=2).callback_metrics for module in (plain, smooth)]
    assert runs[1]["train/loss"] > runs[0]["train/loss"]
    assert runs[1]["val/perplexity"] == pytest.approx(float(runs[0]["val/perplexity"]), rel=0.15)


@pytest.mark.parametrize("technique", [MixUp, CutMix])
def test_tokens_cannot_be_mixed(technique: Any) -> None:
    with pytest.raises(UnsupportedModule, match=rf"{technique.__name__} does not support"):
        train(gpt(), technique(), steps=1)


@pytest.mark.parametrize("optimizer", [AdamW, Muon])
def test_bf16(optimizer: Any) -> None:
    """Mixed precision learns what float32 does, with weights and logits' losses in float32."""
    plain, mixed = gpt(), gpt()
    expected = train(plain, *company(optimizer()), epochs=2).callback_metrics
    found = fit(mixed, tokens(), *company(optimizer()), epochs=2, precision="bf16-mixed").callback_metrics
    assert all(p.dtype == torch.float32 for p in mixed.parameters())
    assert float(found["val/loss"]) == pytest.approx(float(expected["val/loss"]), rel=0.01)
