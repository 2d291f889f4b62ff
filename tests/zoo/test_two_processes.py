"""Two processes are one run: equal weights on both, and the metrics of a single process on the same global batches."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch import Tensor

from callbacks.averaging.ema import EMA
from callbacks.init.orthogonal import Orthogonal
from datamodules.base import TensorSplit, ZooDataModule
from datamodules.digits import Digits
from tests.tools import quiet_trainer
from zoo.cnn import ResNet
from zoo.mlp import MLP
from zoo.task import Classification, Regression

PAIR: dict[str, Any] = {"strategy": "ddp_fork", "devices": 2}


class Report(Callback):
    """Leaves in a folder what each process holds, by moment and rank."""

    def __init__(self, folder: Path, ema: EMA | None = None) -> None:
        self.folder, self.ema = folder, ema
        self.losses: list[float] = []

    def save(self, trainer: Any, moment: str, content: Any) -> None:
        torch.save(content, self.folder / f"{moment}-{trainer.global_rank}.pt")

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        torch.manual_seed(trainer.global_rank)  # init schemes that come later draw other numbers in each process

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.save(trainer, "start", pl_module.state_dict())

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            self.save(trainer, f"inputs{trainer.current_epoch}", batch[0])

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        self.losses.append(pl_module.last_loss)

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        self.save(trainer, "validated", pl_module.state_dict())

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        average = self.ema._average_model if self.ema is not None else None
        parameters = {name: p.detach() for name, p in pl_module.named_parameters()}
        self.save(trainer, "end", parameters)
        self.save(trainer, "average", None if average is None else average.module.state_dict())
        self.save(trainer, "metrics", dict(trainer.callback_metrics))
        self.save(trainer, "draw", torch.rand(8))  # the generator, as dropout left it


def both(folder: Path, moment: str) -> tuple[Any, Any]:
    first, second = (torch.load(folder / f"{moment}-{rank}.pt", weights_only=True) for rank in (0, 1))
    return first, second


def assert_equal(pair: tuple[dict[str, Tensor], dict[str, Tensor]]) -> None:
    first, second = pair
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes with batch norm, dropout, an init scheme and an average."""
    folder = tmp_path_factory.mktemp("pair")
    torch.manual_seed(0)
    module = ResNet(1, Classification(10), [1, 1], width=8, dropout=0.3, drop_path=0.3)
    ema = EMA(0.8)
    # EMA copies the weights in setup, before the scheme has filled them.
    callbacks = [Report(folder, ema), ema, Orthogonal()]
    quiet_trainer(callbacks=callbacks, max_epochs=2, **PAIR).fit(module, datamodule=Digits(batch_size=200))
    return folder


def test_init_schemes_are_equal_on_ranks(folder: Path) -> None:
    first, second = both(folder, "start")
    assert_equal((first, second))
    rows = first["head.weight"]
    torch.testing.assert_close(rows @ rows.T, torch.eye(10), rtol=1e-4, atol=1e-5)


def test_ranks_see_different_samples_and_masks(folder: Path) -> None:
    for epoch in (0, 1):
        first, second = both(folder, f"inputs{epoch}")
        assert first.shape == second.shape == (200, 1, 8, 8)
        assert not torch.equal(first, second)
    first, second = both(folder, "draw")
    assert not torch.equal(first, second)


def test_ranks_end_with_equal_weights(folder: Path) -> None:
    assert_equal(both(folder, "end"))
    start, end = both(folder, "start")[0], both(folder, "end")[0]
    assert not torch.equal(start["head.weight"], end["head.weight"])


def test_ranks_validate_equal_weights_and_running_statistics(folder: Path) -> None:
    assert_equal(both(folder, "validated"))


def test_the_average_is_equal_on_ranks(folder: Path) -> None:
    first, second = both(folder, "average")
    assert_equal((first, second))
    assert all(value.isfinite().all() for value in first.values())


def test_metrics_are_equal_on_ranks(folder: Path) -> None:
    first, second = both(folder, "metrics")
    assert first == second
    assert {"train/loss", "train/accuracy", "val/loss", "val/accuracy", "val/f1"} <= first.keys()


# Against one process --------------------------------------------------------------------------------------------------


class Rows(ZooDataModule):
    """Real classes from linear rules, in splits that two processes cannot halve."""

    sizes = {"train": 128, "val": 33, "test": 31}  # noqa: RUF012  never changed

    def __init__(self, regression: bool, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.regression = regression

    def load(self) -> dict[str, TensorSplit]:  # type: ignore[override]
        generator = torch.Generator().manual_seed(0)
        rule = torch.randn(6, 3, generator=generator)
        splits = {}
        for name, size in self.sizes.items():
            x = torch.randn(size, 6, generator=generator)
            splits[name] = TensorSplit(x, 5 * (x @ rule)[:, 0] + 40 if self.regression else (x @ rule).argmax(1))
        return splits


@pytest.mark.parametrize("regression", [False, True])
def test_metrics_are_those_of_one_process(tmp_path: Path, regression: bool) -> None:
    results = []
    for world, settings in ((1, {}), (2, PAIR)):
        torch.manual_seed(0)
        module = MLP(6, Regression() if regression else Classification(3), hidden=[16])
        (tmp_path / str(world)).mkdir()
        trainer = quiet_trainer(callbacks=[Report(tmp_path / str(world))], max_epochs=4, **settings)
        # Rank r takes every second sample from the r-th on, so half the batch size makes the same global batches. The
        # first process has 17 samples to validate in batches of 16, the second has 16.
        trainer.fit(module, datamodule=Rows(regression, batch_size=16 // world, eval_batch_size=16))
        kind = tmp_path / str(world)
        loaded = [torch.load(kind / f"{moment}-0.pt", weights_only=True) for moment in ("end", "metrics")]
        results.append(loaded)
    (weights, metrics), (other_weights, other_metrics) = results
    torch.testing.assert_close(weights, other_weights, rtol=1e-4, atol=1e-5)
    assert metrics.keys() == other_metrics.keys()
    exact = set() if regression else {"train/accuracy", "val/accuracy", "val/f1"}
    for name, value in metrics.items():
        assert other_metrics[name].item() == pytest.approx(value.item(), rel=1e-6 if name in exact else 1e-4), name
