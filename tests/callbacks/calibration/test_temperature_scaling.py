"""TemperatureScaling: the right number, kept where it is used, and nothing else changed."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from callbacks.averaging.ema import EMA
from callbacks.calibration.temperature_scaling import LIMIT, TemperatureScaling, fit_temperature
from callbacks.reporting.checkpoint import Checkpoint
from callbacks.technique import UnsupportedModule
from datamodules.digits import Digits
from tests.callbacks.technique_checks import assert_resumes, assert_same, copy, fit, make_mlp
from tests.tools import quiet_trainer
from zoo.batch import Batch
from zoo.checkpoint_io import AtomicCheckpointIO
from zoo.errors import ZooError
from zoo.losses import BiTempered
from zoo.mlp import MLP
from zoo.task import Classification, Regression


def overconfident(factor: float, n: int = 4000) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that are ``factor`` times too large for labels that were drawn from their softmax."""
    torch.manual_seed(0)
    logits = torch.randn(n, 5) * 2
    return logits * factor, torch.multinomial(logits.softmax(1), 1)[:, 0]


@pytest.mark.parametrize("factor", [0.3, 1.0, 3.0])
def test_finds_the_factor_by_which_logits_are_too_large(factor: float) -> None:
    assert fit_temperature(*overconfident(factor)) == pytest.approx(factor, rel=0.05)


def test_is_the_minimum_of_a_fine_grid() -> None:
    logits, labels = overconfident(2.0, 300)
    grid = torch.linspace(0.5, 5, 4501)
    losses = torch.stack([F.cross_entropy(logits / t, labels) for t in grid])
    assert fit_temperature(logits, labels) == pytest.approx(grid[losses.argmin()].item(), abs=2e-3)


def test_bounds_where_there_is_no_minimum() -> None:
    """Without a mistake the likelihood grows for ever; for labels that deny the logits it falls from T = infinity."""
    logits = torch.eye(4)
    assert fit_temperature(logits, torch.arange(4)) == pytest.approx(1 / LIMIT)
    assert fit_temperature(logits, torch.arange(4).roll(1)) == pytest.approx(LIMIT)


def test_a_temperature_of_one_changes_nothing_and_training_never_sees_it() -> None:
    task, logits, batch = Classification(5), torch.randn(6, 5), Batch(None, torch.arange(6) % 5)
    batch = batch._replace(x=logits)
    before = task.decode(logits), task.eval().loss(logits, batch)
    assert torch.equal(before[0], logits.softmax(1))
    task.temperature.fill_(2.0)
    torch.testing.assert_close(task.decode(logits), (logits / 2).softmax(1))
    torch.testing.assert_close(task.loss(logits, batch), F.cross_entropy(logits / 2, batch.y))
    assert torch.equal(task.train().loss(logits, batch), before[1])


def test_weights_from_before_there_was_a_temperature_still_load() -> None:
    state = {name: tensor for name, tensor in make_mlp().state_dict().items() if name != "task.temperature"}
    make_mlp().load_state_dict(state)


def test_the_best_checkpoint_gets_its_temperature_and_nothing_else_changes(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    weights = {}
    for techniques in ([], [TemperatureScaling()]):
        folder = tmp_path / str(len(techniques))
        keeper = Checkpoint(folder, "val/accuracy", "max")
        fit(make_mlp(), *techniques, keeper, batch_size=64, max_epochs=3, enable_checkpointing=True)
        read = AtomicCheckpointIO().load_checkpoint  # also checks the sha256 beside the file
        weights[len(techniques)] = [read(folder / name)["state_dict"] for name in ("best.ckpt", "last.ckpt")]
    assert_same(weights[0][1], weights[1][1])
    temperature = weights[1][0].pop("task.temperature")
    assert weights[0][0].pop("task.temperature") == 1
    assert_same(weights[0][0], weights[1][0])
    assert temperature != 1
    assert f"T = {temperature:.3f}; on the 143 validation samples" in capsys.readouterr().out

    module, trainer = make_mlp(), quiet_trainer()
    module.load_state_dict(weights[0][0] | {"task.temperature": torch.tensor(1.0)})
    plain = trainer.validate(module, datamodule=Digits(), verbose=False)[0]
    module.load_state_dict(weights[0][0] | {"task.temperature": temperature})
    scaled = trainer.validate(module, datamodule=Digits(), verbose=False)[0]
    assert scaled["val/accuracy"] == plain["val/accuracy"]
    assert scaled["val/loss"] < plain["val/loss"], "the likelihood is what is fitted"


def test_the_module_in_memory_is_calibrated_behind_an_average_too() -> None:
    module, technique = make_mlp(), TemperatureScaling()
    trainer = fit(module, EMA(0.9), technique, batch_size=64, max_epochs=2)
    assert module.task.temperature.item() == pytest.approx(technique._temperature) != 1
    logits, labels = [], []
    data = trainer.datamodule
    for x, y, _ in data.val_dataloader():
        logits.append(module.eval()(data.transform_batch(x)).detach())
        labels.append(y)
    assert fit_temperature(torch.cat(logits), torch.cat(labels)) == pytest.approx(technique._temperature, rel=1e-4)


def test_second_fit_starts_from_one() -> None:
    module, technique = make_mlp(dropout=0.0), TemperatureScaling()
    fit(module, technique)
    losses = []
    fit(module, technique, _Watch(losses))
    assert losses == [1.0]


class _Watch(EMA):
    """Notes the temperature in the middle of training."""

    def __init__(self, seen: list[float]) -> None:
        super().__init__()
        self.seen = seen

    def on_train_epoch_end(self, trainer, pl_module) -> None:  # type: ignore[no-untyped-def]
        self.seen.append(pl_module.task.temperature.item())


def test_resumes_to_the_bit(tmp_path: Path) -> None:
    assert_resumes(lambda: [TemperatureScaling()], tmp_path)


def test_training_is_unchanged() -> None:
    plain, scaled = make_mlp(), make_mlp()
    fit(plain, max_epochs=2)
    fit(scaled, TemperatureScaling(), max_epochs=2)
    states = copy(plain), copy(scaled)
    assert states[0].pop("task.temperature") != states[1].pop("task.temperature")
    assert_same(*states)


def test_errors_say_what_to_do() -> None:
    with pytest.raises(UnsupportedModule, match="does not support the task Regression; use Classification, or drop"):
        fit(MLP(64, Regression(), [4]), TemperatureScaling())
    with pytest.raises(UnsupportedModule, match="the probabilities of BiTempered are not the softmax"):
        TemperatureScaling().attach(MLP(4, Classification(3, loss=BiTempered()), [4]))
    TemperatureScaling().attach(MLP(4, Classification(3, loss=nn.MultiMarginLoss()), [4]))
    with pytest.raises(ZooError, match="fitted on the validation split, and this run has none"):
        fit(make_mlp(), TemperatureScaling(), limit_val_batches=0)
