"""StopEarly: stops when it should, watches what the task watches, and a resume keeps its patience."""

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback, Trainer

from callbacks.averaging.ema import EMA
from callbacks.stopping.early_stopping import StopEarly
from callbacks.technique import UnsupportedModule
from datamodules.diabetes import Diabetes
from tests.callbacks.technique_checks import assert_resumes, fit, make_mlp
from tests.tools import StopAt, Stopped, quiet_trainer
from zoo.errors import ZooError
from zoo.mlp import MLP
from zoo.module import SupervisedModule, ZooModule
from zoo.task import Regression

ACCURACY = [0.5, 0.6, 0.7, 0.65, 0.7, 0.71, 0.7, 0.6, 0.71, 0.7, 0.9, 0.9]


class Scripted(Callback):
    """Overwrites the monitored quantity with what each epoch is to show."""

    def __init__(self, values: list[float], name: str = "val/accuracy") -> None:
        self.values, self.name = values, name

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        pl_module.trainer.callback_metrics  # noqa: B018  built before it is changed
        self.now = self.values[trainer.current_epoch]

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        trainer.callback_metrics[self.name].fill_(self.now)


def epochs(technique: StopEarly, values: list[float], *more: Callback, **settings: Any) -> int:
    return fit(make_mlp(), Scripted(values), technique, *more, max_epochs=len(values), **settings).current_epoch


@pytest.mark.parametrize(
    ("patience", "min_delta", "expected"),
    [(1, 0.0, 4), (2, 0.0, 5), (3, 0.0, 9), (4, 0.0, 10), (3, 0.05, 6), (9, 0.0, 12)],
)
def test_stops_after_so_many_epochs_without_a_gain(patience: int, min_delta: float, expected: int) -> None:
    assert epochs(StopEarly(patience, min_delta), ACCURACY) == expected


def test_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    epochs(StopEarly(2), ACCURACY)
    said = capsys.readouterr().out
    assert "StopEarly: val/accuracy was not better than 0.7 for 2 validations; stopped after epoch 5" in said
    epochs(StopEarly(9), ACCURACY)
    assert "StopEarly" not in capsys.readouterr().out


def test_watches_what_the_task_watches() -> None:
    technique = StopEarly(2)
    rmse = [60.0, 50.0, 55.0, 50.0, 40.0, 40.0]
    trainer = quiet_trainer(callbacks=[Scripted(rmse, "val/rmse"), technique], max_epochs=6)
    trainer.fit(MLP(10, Regression(), [4]), datamodule=Diabetes())
    assert (technique.monitor, technique.mode, trainer.current_epoch) == ("val/rmse", "min", 4)


@pytest.mark.parametrize("cut", [3, 6, 7])
def test_a_resume_keeps_its_patience(tmp_path: Path, cut: int) -> None:
    with pytest.raises(Stopped):
        epochs(StopEarly(3), ACCURACY, StopAt(tmp_path / "cut.ckpt", cut, 2))
    assert epochs(StopEarly(3), ACCURACY, ckpt=tmp_path / "cut.ckpt") == 9


def test_resumes_to_the_bit(tmp_path: Path) -> None:
    assert_resumes(lambda: [StopEarly()], tmp_path)


def test_second_fit_forgets_the_first() -> None:
    technique = StopEarly(2)
    assert epochs(technique, [0.9, 0.9, 0.9, 0.9]) == 3
    assert epochs(technique, [0.1, 0.2, 0.3, 0.4]) == 4


def test_gets_on_with_an_average() -> None:
    assert epochs(StopEarly(1), ACCURACY, EMA(0.9)) == 4


def test_errors_say_what_to_do() -> None:
    with pytest.raises(ZooError, match="patience counts validations and must be at least 1, got 0"):
        StopEarly(0)
    with pytest.raises(ZooError, match="min_delta must not be negative"):
        StopEarly(min_delta=-1.0)
    with pytest.raises(ZooError, match="watches the validation split, and this run has none"):
        fit(make_mlp(), StopEarly(), limit_val_batches=0)
    with pytest.raises(UnsupportedModule, match="StopEarly does not support ZooModule"):
        StopEarly().setup(None, ZooModule(), "fit")  # type: ignore[arg-type]


def for_matrix(module: SupervisedModule, folder: Path) -> StopEarly:
    """No gain is large enough, so that it stops within a few epochs."""
    return StopEarly(patience=1, min_delta=1e6)
