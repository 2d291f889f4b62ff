"""Recalibrated batch norm: statistics of the weights as they are, training unchanged, with EMA, resume, refusals."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from callbacks.averaging.ema import EMA
from callbacks.averaging.recalibrate_batch_norm import RecalibrateBatchNorm
from callbacks.technique import NoEffect, UnsupportedModule
from datamodules.digits import Digits
from tests.tools import StopAt, Stopped, quiet_trainer
from zoo.cnn import ResNet
from zoo.errors import ZooError
from zoo.module import SupervisedModule, ZooModule
from zoo.task import Classification


def make_model(norm: Any = "batch") -> SupervisedModule:
    torch.manual_seed(0)
    return ResNet(1, Classification(10), [1], width=8, norm=norm, dropout=0.2)


def fit(model: SupervisedModule, *callbacks: Callback, ckpt: Path | None = None, **settings: Any) -> SupervisedModule:
    trainer = quiet_trainer(**{"max_epochs": 2, "callbacks": list(callbacks), **settings})
    trainer.fit(model, datamodule=Digits(batch_size=200), ckpt_path=ckpt, weights_only=True if ckpt else None)
    return model


def stem_statistics(model: SupervisedModule) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of what the first norm sees, over the training split at once."""
    data = Digits()
    data.setup("fit")
    with torch.no_grad():
        x = model.backbone[0](data.transform_batch(data.splits["train"].x))  # (N, C, H, W)
    return x.mean((0, 2, 3)), x.var((0, 2, 3))


@pytest.mark.parametrize("settings", [{}, {"limit_val_batches": 0}, {"max_epochs": 1, "val_check_interval": 3}])
@pytest.mark.parametrize("average", [False, True])
def test_statistics_are_those_of_the_training_split(settings: dict[str, Any], average: bool) -> None:
    model = fit(make_model(), *([EMA(0.9)] if average else []), RecalibrateBatchNorm(), **settings)
    mean, var = stem_statistics(model)
    norm = model.backbone[1]
    # A mean over batches, the last of which is smaller: not quite the mean over the samples.
    torch.testing.assert_close(norm.running_mean, mean, atol=0.01, rtol=0.02)
    torch.testing.assert_close(norm.running_var, var, atol=0.01, rtol=0.05)
    assert norm.momentum == 0.1


@pytest.mark.parametrize("norm", ["ghost_batch", "sync_batch"])
def test_other_batch_norms(norm: str) -> None:
    model = fit(make_model(norm), RecalibrateBatchNorm())
    mean, var = stem_statistics(model)
    torch.testing.assert_close(model.backbone[1].running_mean, mean, atol=0.01, rtol=0.02)
    torch.testing.assert_close(model.backbone[1].running_var, var, atol=0.01, rtol=0.05)
    assert not torch.equal(fit(make_model(norm)).backbone[1].running_var, model.backbone[1].running_var)


def test_without_it_they_lag_behind() -> None:
    model = fit(make_model())
    _, var = stem_statistics(model)
    assert not torch.allclose(model.backbone[1].running_var, var, atol=0.01, rtol=0.05)


def test_training_is_unchanged() -> None:
    plain, other = fit(make_model()), fit(make_model(), RecalibrateBatchNorm())
    for (name, a), (_, b) in zip(plain.named_parameters(), other.named_parameters(), strict=True):
        assert torch.equal(a, b), name
    assert plain.trainer.callback_metrics["train/loss"] == other.trainer.callback_metrics["train/loss"]
    assert plain.trainer.callback_metrics["val/loss"] != other.trainer.callback_metrics["val/loss"]


def test_batches_limit_the_estimate() -> None:
    model = fit(make_model(), RecalibrateBatchNorm(batches=2))
    assert model.backbone[1].num_batches_tracked == 2


@pytest.mark.parametrize(("epoch", "batch"), [(0, 3), (1, 2)])
def test_resumes_to_the_bit(tmp_path: Path, epoch: int, batch: int) -> None:
    whole = fit(make_model(), RecalibrateBatchNorm(), EMA(0.9))
    with pytest.raises(Stopped):
        fit(make_model(), RecalibrateBatchNorm(), EMA(0.9), StopAt(tmp_path / "last.ckpt", epoch, batch))
    resumed = fit(make_model(), RecalibrateBatchNorm(), EMA(0.9), ckpt=tmp_path / "last.ckpt")
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_second_fit() -> None:
    technique = RecalibrateBatchNorm()
    model = fit(fit(make_model(), technique), technique)
    torch.testing.assert_close(model.backbone[1].running_mean, stem_statistics(model)[0], atol=0.01, rtol=0.02)


def test_early_validation_is_far_better() -> None:
    """After the eleven steps of one epoch the running statistics are still to a good part their initial values."""

    def accuracy(seed: int, *techniques: Callback) -> float:
        torch.manual_seed(seed)
        model = ResNet(1, Classification(10), [1, 1, 1], width=8)
        model.optimizer_factories["network"] = lambda net: torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        trainer = quiet_trainer(callbacks=list(techniques))
        trainer.fit(model, datamodule=Digits(batch_size=128))
        return trainer.callback_metrics["val/accuracy"].item()

    assert all(accuracy(seed, RecalibrateBatchNorm()) > accuracy(seed) + 0.08 for seed in range(3))


def test_refusals() -> None:
    with pytest.raises(NoEffect, match="RecalibrateBatchNorm: ResNet has no batch norm that trains; build it with"):
        fit(make_model("group"), RecalibrateBatchNorm())
    with pytest.raises(ZooError, match="RecalibrateBatchNorm: batches must be at least 1, got 0; null takes all"):
        RecalibrateBatchNorm(0)
    with pytest.raises(UnsupportedModule, match="RecalibrateBatchNorm does not support ZooModule"):
        RecalibrateBatchNorm().setup(quiet_trainer(), ZooModule(), "fit")
