"""SWA: the plain mean, fresh statistics of batch norm, what is validated is what is saved, resume, refusals."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from torch import nn
from torch.optim.swa_utils import update_bn

from callbacks.averaging.batch_statistics import recalibrate, training_batches
from callbacks.averaging.ema import EMA
from callbacks.averaging.swa import SWA
from callbacks.reporting.checkpoint import Checkpoint
from callbacks.technique import Conflict, UnsupportedModule
from datamodules.digits import Digits
from tests.tools import StopAt, Stopped, quiet_trainer
from zoo.batch import Batch
from zoo.cnn import ResNet
from zoo.errors import ZooError
from zoo.mlp import MLP
from zoo.module import SupervisedModule
from zoo.task import Classification


def make_model(norm: str = "batch") -> SupervisedModule:
    torch.manual_seed(0)
    return MLP(64, Classification(10), [32], norm=norm, dropout=0.3)


def fit(model: SupervisedModule, *callbacks: Callback, ckpt: Path | None = None, **settings: Any) -> SupervisedModule:
    trainer = quiet_trainer(**{"max_epochs": 4, "callbacks": list(callbacks), **settings})
    trainer.fit(model, datamodule=Digits(batch_size=200), ckpt_path=ckpt, weights_only=True if ckpt else None)
    return model


class Trace(Callback):
    """Copies of the weights after each step, and at the ends of epochs."""

    def __init__(self) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []
        self.ends: list[int] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.steps.append({name: p.detach().clone() for name, p in pl_module.named_parameters()})
        if trainer.is_last_batch:
            self.ends.append(len(self.steps))


@pytest.mark.parametrize(("every", "start", "points"), [("epoch", 0.5, 3), ("step", 0.5, 15), ("epoch", 0.0, 4)])
def test_equals_the_plain_mean(every: Any, start: float, points: int) -> None:
    trace, swa = Trace(), SWA(start, every)
    model = fit(make_model(), trace, swa)
    total = len(trace.steps)
    taken = [n for n in (trace.ends if every == "epoch" else range(1, total + 1)) if n >= start * total]
    assert len(taken) == swa.averaged == points
    for name, parameter in model.named_parameters():
        expected = torch.stack([trace.steps[n - 1][name] for n in taken]).mean(0)
        torch.testing.assert_close(parameter.detach(), expected, atol=1e-6, rtol=1e-5)


def test_training_goes_on_with_the_weights_themselves() -> None:
    plain, averaged = Trace(), Trace()
    fit(make_model(), plain)
    fit(make_model(), averaged, SWA(0.3))
    for a, b in zip(plain.steps, averaged.steps, strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_statistics_equal_torch_update_bn() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3), nn.BatchNorm1d(3))
    batches = [Batch(torch.randn(16, 4) + 2) for _ in range(5)]
    ours, theirs = copy.deepcopy(model), copy.deepcopy(model)
    ours[0].eval()
    assert recalibrate(ours, lambda batch: ours(batch.x), iter([*batches, Batch(torch.zeros(1, 4))])) == 5
    update_bn([b.x for b in batches], theirs)
    for a, b in zip(ours.buffers(), theirs.buffers(), strict=True):
        assert torch.equal(a, b)
    assert not ours[0].training
    assert ours[1].training
    assert ours[1].momentum == 0.1


def test_frozen_norms_and_an_empty_loader_change_nothing() -> None:
    model = nn.Sequential(nn.BatchNorm1d(4), nn.BatchNorm1d(4))
    model[0].requires_grad_(False)
    recalibrate(model, lambda batch: model(batch.x), iter([]))
    assert not model[1].running_mean.any()
    recalibrate(model, lambda batch: model(batch.x), iter([Batch(torch.rand(8, 4))]))
    assert not model[0].running_mean.any()
    assert model[1].running_mean.all()


def test_what_is_saved_is_what_was_validated(tmp_path: Path) -> None:
    swa = SWA(0.5)
    model = fit(make_model(), swa, Checkpoint(tmp_path), enable_checkpointing=True)
    metrics = dict(model.trainer.callback_metrics)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    fresh = make_model()
    fresh.load_state_dict(saved["state_dict"])
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, saved["state_dict"][name]), name
    (found,) = quiet_trainer().validate(fresh, datamodule=Digits(batch_size=200), verbose=False)
    assert found["val/loss"] == pytest.approx(metrics["val/loss"].item(), rel=1e-6)
    # The statistics are those of the averaged weights on the training split, as one can compute them afterwards.
    other = copy.deepcopy(fresh)
    data, trainer = Digits(batch_size=200), quiet_trainer()
    trainer.validate(other, datamodule=data, verbose=False)
    recalibrate(other, other.forward_batch, training_batches(trainer, other))
    for name, buffer in fresh.named_buffers():
        torch.testing.assert_close(buffer, dict(other.named_buffers())[name], msg=name)


def test_before_it_starts_the_weights_themselves_are_validated_and_saved(tmp_path: Path) -> None:
    plain, swa = make_model(), make_model()
    fit(plain, max_epochs=2)
    stop = StopAt(tmp_path / "early.ckpt", 1, 6)
    with pytest.raises(Stopped):
        fit(swa, SWA(0.9), stop)
    saved = torch.load(tmp_path / "early.ckpt", weights_only=True)
    for name, tensor in plain.state_dict().items():
        if not name.startswith("_metrics"):
            assert torch.equal(tensor, saved["state_dict"][name]), name


@pytest.mark.parametrize(("epoch", "batch"), [(1, 2), (2, 5), (3, 1)])
def test_resumes_to_the_bit(tmp_path: Path, epoch: int, batch: int) -> None:
    whole = fit(make_model(), SWA(0.5))
    with pytest.raises(Stopped):
        fit(make_model(), SWA(0.5), StopAt(tmp_path / "last.ckpt", epoch, batch))
    resumed = fit(make_model(), SWA(0.5), ckpt=tmp_path / "last.ckpt")
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    assert whole.trainer.callback_metrics == resumed.trainer.callback_metrics


def test_a_finished_run_that_is_started_again_keeps_the_average(tmp_path: Path) -> None:
    whole = fit(make_model(), SWA(0.5), Checkpoint(tmp_path), enable_checkpointing=True)
    again = fit(make_model(), SWA(0.5), ckpt=tmp_path / "last.ckpt")
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_without_validation_the_end_of_the_run_recalibrates() -> None:
    validated = fit(make_model(), SWA(0.5))
    blind = fit(make_model(), SWA(0.5), limit_val_batches=0)
    raw = fit(make_model(), SWA(0.5, recalibrate=False), limit_val_batches=0)
    name = "backbone.0.norm.running_mean"
    torch.testing.assert_close(blind.state_dict()[name], validated.state_dict()[name])
    assert not torch.allclose(raw.state_dict()[name], validated.state_dict()[name], rtol=1e-3)


def test_second_fit_starts_a_new_average() -> None:
    swa = SWA(0.5)
    model = fit(fit(make_model(), swa), swa)
    assert swa.averaged == 3
    assert model.trainer.global_step == 28


def test_a_run_that_stops_early_keeps_its_weights_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    class Stop(Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            trainer.should_stop = True

    trace = Trace()
    model = fit(make_model(), trace, Stop(), SWA(0.75))
    assert "SWA averaged nothing: the run ended before 75% of its steps" in capsys.readouterr().out
    assert all(torch.equal(p, trace.steps[-1][name]) for name, p in model.named_parameters())


def test_helps_a_noisy_run_on_digits() -> None:
    """At a constant, high learning rate single weights are noisy; their mean is better, on every one of three seeds."""

    def loss(seed: int, *techniques: Callback) -> float:
        torch.manual_seed(seed)
        model = ResNet(1, Classification(10), [1], width=8)
        model.optimizer_factories["network"] = lambda network: torch.optim.SGD(network.parameters(), lr=0.5)
        trainer = quiet_trainer(max_epochs=8, callbacks=list(techniques))
        trainer.fit(model, datamodule=Digits(batch_size=64))
        return trainer.callback_metrics["val/loss"].item()

    assert all(loss(seed, SWA(0.5)) < loss(seed) for seed in range(3))


def test_refusals() -> None:
    with pytest.raises(Conflict, match=r"SWA and EMA do not go together: both keep an average, .*; drop one of them"):
        fit(make_model(), EMA(), SWA())
    with pytest.raises(ZooError, match=r"SWA: start is a share of the run in \[0, 1\), got 1.0"):
        SWA(1.0)
    with pytest.raises(ZooError, match="SWA has to know the length of the run; set max_epochs or max_steps"):
        fit(make_model(), SWA(), max_epochs=-1)
    with pytest.raises(UnsupportedModule, match="SWA does not support LightningModule"):
        SWA().setup(quiet_trainer(), LightningModule(), "fit")
