"""A run that was stopped and went on equals one that never was, to the bit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch.optim.lr_scheduler import LambdaLR

from callbacks.averaging.ema import EMA
from callbacks.reporting.checkpoint import Checkpoint
from datamodules.augment import Cutout, RandomCrop
from datamodules.digits import Digits
from tests.tools import StopAt, Stopped, quiet_trainer
from zoo.cnn import ResNet
from zoo.errors import ResumeError
from zoo.mlp import MLP
from zoo.module import ZooModule
from zoo.task import Classification

EPOCHS = 3


def make_data(**arguments: Any) -> Digits:
    return Digits(**{"batch_size": 200, "augment": [RandomCrop(1), Cutout(2)], **arguments})


def make_model(kind: str) -> ZooModule:
    torch.manual_seed(0)
    task = Classification(10)
    if kind == "mlp":
        model: ZooModule = MLP(64, task, [32, 32], norm="batch", dropout=0.3)
    else:
        model = ResNet(1, task, [1, 1], width=8, dropout=0.2, drop_path=0.3)
    model.schedule_factories["network"] = lambda optimizer, total: LambdaLR(optimizer, lambda step: 1 - step / total)
    return model


def fit(kind: str, callbacks: list[Callback], ckpt: Path | None = None, **settings: Any) -> tuple[ZooModule, Any]:
    model = make_model(kind)
    trainer = quiet_trainer(max_epochs=EPOCHS, callbacks=callbacks, **settings)
    trainer.fit(model, datamodule=make_data(), ckpt_path=ckpt, weights_only=True if ckpt else None)
    return model, trainer


def assert_equal_runs(first: tuple[ZooModule, Any], second: tuple[ZooModule, Any]) -> None:
    for name, tensor in first[0].state_dict().items():
        assert torch.equal(tensor, second[0].state_dict()[name]), name
    assert first[1].global_step == second[1].global_step
    metrics, others = first[1].callback_metrics, second[1].callback_metrics
    assert {k: v.item() for k, v in metrics.items()} == {k: v.item() for k, v in others.items()}
    for a, b in zip(first[1].optimizers, second[1].optimizers, strict=True):
        for key, state in a.state_dict()["state"].items():
            for name, value in state.items():
                assert torch.equal(torch.as_tensor(value), torch.as_tensor(b.state_dict()["state"][key][name])), name


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(("epoch", "batch"), [(0, 1), (1, 3), (2, 0), (1, 5)])
def test_cut_off_in_the_middle_of_an_epoch(tmp_path: Path, kind: str, accumulate: int, epoch: int, batch: int) -> None:
    if accumulate == 2 and batch % 2 == 0:
        pytest.skip("a checkpoint is saved between optimizer steps, never within an accumulation")
    settings = {"accumulate_grad_batches": accumulate}
    whole = fit(kind, [EMA(0.9)], **settings)
    with pytest.raises(Stopped):
        fit(kind, [EMA(0.9), StopAt(tmp_path / "last.ckpt", epoch, batch)], **settings)
    assert_equal_runs(whole, fit(kind, [EMA(0.9)], tmp_path / "last.ckpt", **settings))


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
@pytest.mark.parametrize("epochs", [1, 2])
def test_stopped_at_the_end_of_an_epoch(tmp_path: Path, kind: str, epochs: int) -> None:
    class Leave(Callback):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == epochs:
                raise Stopped

    def callbacks() -> list[Callback]:
        return [EMA(0.9), Checkpoint(tmp_path / "ckpt", "val/accuracy", "max")]

    settings: dict[str, Any] = {"enable_checkpointing": True}
    whole = fit(kind, [EMA(0.9)])
    with pytest.raises(Stopped):
        fit(kind, [*callbacks(), Leave()], **settings)
    assert_equal_runs(whole, fit(kind, callbacks(), tmp_path / "ckpt" / "last.ckpt", **settings))


def test_stopped_many_times(tmp_path: Path) -> None:
    whole = fit("mlp", [EMA(0.9)])
    ckpt: Path | None = None
    for attempt, (epoch, batch) in enumerate([(0, 0), (0, 4), (1, 0), (1, 1), (2, 4)]):
        file = tmp_path / f"{attempt}.ckpt"
        with pytest.raises(Stopped):
            fit("mlp", [EMA(0.9), StopAt(file, epoch, batch)], ckpt)
        ckpt = file
    assert_equal_runs(whole, fit("mlp", [EMA(0.9)], ckpt))


def test_a_finished_run_that_is_started_again_keeps_the_average(tmp_path: Path) -> None:
    callbacks = [EMA(0.9), Checkpoint(tmp_path, "val/accuracy", "max")]
    whole, _ = fit("mlp", callbacks, enable_checkpointing=True)
    again, _ = fit("mlp", [EMA(0.9), Checkpoint(tmp_path, "val/accuracy", "max")], tmp_path / "last.ckpt",
                   enable_checkpointing=True)  # fmt: skip
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_another_batch_size_in_the_middle_of_an_epoch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        fit("mlp", [StopAt(tmp_path / "last.ckpt", 0, 2)])
    with pytest.raises(ResumeError, match="middle of an epoch with batch_size=200, this run has 100"):
        quiet_trainer(max_epochs=EPOCHS).fit(
            make_model("mlp"), datamodule=make_data(batch_size=100), ckpt_path=tmp_path / "last.ckpt"
        )


def test_another_optimizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        fit("mlp", [StopAt(tmp_path / "last.ckpt", 0, 2)])
    model = make_model("mlp")
    model.optimizer_factories["network"] = lambda network: torch.optim.SGD(network.parameters(), lr=0.1)
    with pytest.raises(ResumeError, match="trained with AdamW for the network, this run asks for SGD"):
        quiet_trainer(max_epochs=EPOCHS).fit(model, datamodule=make_data(), ckpt_path=tmp_path / "last.ckpt")
