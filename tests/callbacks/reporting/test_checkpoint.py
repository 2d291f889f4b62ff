"""Which epochs ``best.ckpt`` and ``last.ckpt`` hold, and when they are written."""

from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback
from torch import Tensor

from callbacks.reporting.checkpoint import Checkpoint
from datamodules.digits import Digits
from tests.tools import Stopped, quiet_trainer
from zoo.mlp import MLP
from zoo.task import Classification

BATCHES = 4  # of 400 digits, in an epoch


def fit(folder: Path, checkpoint: Checkpoint, *callbacks: Callback, **settings: Any) -> Any:
    torch.manual_seed(0)
    trainer = quiet_trainer(folder, callbacks=[*callbacks, checkpoint], enable_checkpointing=True, **settings)
    trainer.fit(MLP(64, Classification(10), hidden=[8]), datamodule=Digits(batch_size=400))
    return trainer


def read(folder: Path, name: str) -> dict[str, Any]:
    return torch.load(folder / f"{name}.ckpt", weights_only=True)


class Score(Callback):
    """Logs a quantity whose course is given."""

    def __init__(self, scores: list[float]) -> None:
        self.scores = scores

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        pl_module.log("val/score", torch.tensor(self.scores[trainer.current_epoch]))


COURSES: list[tuple[list[float], Literal["min", "max"], int]] = [
    ([1.0, 3.0, 2.0], "max", 1),
    ([1.0, 3.0, 2.0], "min", 0),
    ([3.0, 3.0, 2.0], "max", 1),  # of equals the later one
    ([2.0, 2.0, 2.0], "min", 2),
    ([1.0, 2.0, 3.0], "max", 2),
]


@pytest.mark.parametrize(("scores", "mode", "best"), COURSES)
def test_the_best_epoch_is_kept(tmp_path: Path, scores: list[float], mode: Literal["min", "max"], best: int) -> None:
    checkpoint = Checkpoint(tmp_path, "val/score", mode)
    fit(tmp_path, checkpoint, Score(scores), max_epochs=3, num_sanity_val_steps=0)
    assert {path.name for path in tmp_path.glob("*.ckpt")} == {"best.ckpt", "last.ckpt"}
    assert read(tmp_path, "best")["epoch"] == best
    assert Path(checkpoint.best_model_path) == tmp_path / "best.ckpt"
    assert checkpoint.best_model_score == scores[best]


class Keep(Callback):
    """The weights at the end of each epoch."""

    def __init__(self) -> None:
        self.weights: list[Tensor] = []

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.weights.append(pl_module.head.weight.detach().clone())


def test_the_best_file_holds_the_weights_of_that_epoch(tmp_path: Path) -> None:
    keep = Keep()
    fit(tmp_path, Checkpoint(tmp_path, "val/score", "max"), Score([1.0, 3.0, 2.0]), keep, max_epochs=3)
    assert torch.equal(read(tmp_path, "best")["state_dict"]["head.weight"], keep.weights[1])


def test_the_last_epoch_is_kept_when_another_was_better(tmp_path: Path) -> None:
    keep = Keep()
    fit(tmp_path, Checkpoint(tmp_path, "val/score", "max"), Score([1.0, 3.0, 2.0]), keep, max_epochs=3)
    assert read(tmp_path, "last")["epoch"] == 2
    assert torch.equal(read(tmp_path, "last")["state_dict"]["head.weight"], keep.weights[2])


def test_without_a_monitor_the_last_is_the_best(tmp_path: Path) -> None:
    fit(tmp_path, Checkpoint(tmp_path), max_epochs=2)
    assert [read(tmp_path, name)["epoch"] for name in ("best", "last")] == [1, 1]


def test_a_quantity_that_nobody_logs(tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException, match=r"could not find the monitored key.*val/acuracy"):
        fit(tmp_path, Checkpoint(tmp_path, "val/acuracy", "max"))


def test_its_key_in_the_checkpoint_does_not_change_with_its_arguments(tmp_path: Path) -> None:
    assert Checkpoint(tmp_path).state_key == Checkpoint("elsewhere", "val/loss", "max", 5).state_key == "Checkpoint"


class Cut(Callback):
    """Ends a run after so many batches."""

    def __init__(self, batches: int) -> None:
        self.left = batches

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self.left == 0:
            raise Stopped
        self.left -= 1

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        if self.left == 0:
            raise Stopped


@pytest.mark.parametrize(
    ("every", "batches", "saved"),
    [
        (0, 3, None),
        (1, 3, 3),
        (2, 3, 2),
        (3, 2, None),
        (BATCHES, BATCHES, None),  # the epoch's own checkpoint comes after validation, which it did not reach
        (3, BATCHES + 3, BATCHES + 2),
    ],
)
def test_within_an_epoch(tmp_path: Path, every: int, batches: int, saved: int | None) -> None:
    checkpoint = Checkpoint(tmp_path, "val/accuracy", "max", every)
    with pytest.raises(Stopped):
        fit(tmp_path, checkpoint, Cut(batches), max_epochs=2, num_sanity_val_steps=0)
    assert (tmp_path / "last.ckpt").exists() == (saved is not None)
    if saved is not None:
        assert read(tmp_path, "last")["global_step"] == saved


def test_never_within_an_accumulation(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        fit(tmp_path, Checkpoint(tmp_path, None, "min", 1), Cut(3), accumulate_grad_batches=2)
    progress = read(tmp_path, "last")["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    assert progress["current"]["processed"] == 2
