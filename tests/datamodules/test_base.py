import itertools
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch._utils import ExceptionWrapper
from torch.utils.data import Dataset

from datamodules.base import TensorSplit, ZooDataModule
from datamodules.order import BatchLoader, BatchOrder
from zoo.errors import DataError, ResumeError


class Rows(ZooDataModule):
    """Rows whose target is their own number."""

    def __init__(self, size: int = 50, batch_size: Any = 8, **options: Any) -> None:
        super().__init__(batch_size, **options)
        self.size = size

    def load(self) -> dict[str, Dataset[Any]]:
        y = torch.arange(self.size)
        return {name: TensorSplit(y.float()[:, None], y) for name in ("train", "val", "test")}


def flat(order: BatchOrder) -> list[int]:
    return torch.cat(list(order)).tolist()


def test_order_is_a_function_of_seed_and_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        monkeypatch.setenv("PL_GLOBAL_SEED", str(seed))
        made = BatchOrder(100, 8, shuffle=True)
        torch.rand(seed + epoch)  # a generator that others draw from changes nothing
        made.set_epoch(epoch)
        return flat(made)

    assert order(3, 5) == order(3, 5)
    orders = [tuple(order(seed, epoch)) for seed, epoch in itertools.product(range(4), range(4))]
    assert len(set(orders)) == 16
    assert all(sorted(o) == list(range(100)) for o in orders)


def test_first_place_is_uniform_over_epochs() -> None:
    order = BatchOrder(10, 10, shuffle=True)
    counts = torch.zeros(10)
    for epoch in range(1000):
        order.set_epoch(epoch)
        counts[next(iter(order))[0]] += 1
    chi_square = ((counts - 100) ** 2 / 100).sum()
    assert chi_square < 27.9  # 99.9 % of a chi-square variable with 9 degrees of freedom


@pytest.mark.parametrize(("size", "world"), [(50, 2), (51, 2), (50, 3), (7, 4), (3, 4)])
@pytest.mark.parametrize("drop_last", [False, True])
def test_ranks_part_an_epoch_and_step_together(size: int, world: int, drop_last: bool) -> None:
    ranks = [BatchOrder(size, 4, True, drop_last, rank, world) for rank in range(world)]
    batches = [list(order) for order in ranks]
    assert [len(b) for b in batches] == [len(order) for order in ranks]
    assert len({tuple(map(len, b)) for b in batches}) == 1, "every rank makes the same steps"
    seen = sorted(int(i) for b in batches for batch in b for i in batch)
    if drop_last:
        assert all(len(batch) == 4 for b in batches for batch in b)
        assert len(seen) == len(ranks[0]) * 4 * world
    else:
        # None is left out; what is repeated fills the ranks up to the first one's length.
        assert set(seen) == set(range(size))
        assert len(seen) == -(-size // world) * world


@pytest.mark.parametrize(("size", "world"), [(50, 2), (51, 2), (50, 3), (3, 4)])
def test_evaluation_covers_the_split_once(size: int, world: int) -> None:
    seen = [int(i) for rank in range(world) for batch in BatchOrder(size, 4, False, False, rank, world) for i in batch]
    assert sorted(seen) == list(range(size))


@pytest.mark.parametrize("size", range(4, 40))
@pytest.mark.parametrize("world", [2, 3])
def test_ranks_evaluate_equally_many_batches(size: int, world: int) -> None:
    """Those that hold shards of one network wait for each other."""
    ranks = [[*BatchOrder(size, 4, False, False, rank, world)] for rank in range(world)]
    assert [len(batches) for batches in ranks] == [len(ranks[0])] * world
    assert all(0 < len(batch) <= 4 for batches in ranks for batch in batches)
    assert len(BatchOrder(size, 4, False, False, world - 1, world)) == len(ranks[0])


def test_a_models_example_input_passes() -> None:
    example = torch.ones(2, 1)
    assert Rows().on_after_batch_transfer(example, 0) is example


def test_more_processes_than_samples_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Rows(3)
    monkeypatch.setattr(data, "_place", lambda: (0, 4))
    with pytest.raises(DataError, match="Rows train: 3 samples for 4 processes, each of which needs one"):
        data.setup("fit")


def test_start_position_skips_what_is_done() -> None:
    order = BatchOrder(20, 4, True)
    whole = [batch.tolist() for batch in order]
    order.batches_done = lambda: 3
    assert [batch.tolist() for batch in order] == whole[3:]


def test_workers_change_nothing() -> None:
    y = torch.arange(30)
    loaders = [BatchLoader(TensorSplit(y, y), BatchOrder(30, 4, True), workers) for workers in (0, 2)]
    for loader in loaders:
        loader.sampler.set_epoch(1)
    one, two = ([batch[2].tolist() for batch in loader] for loader in loaders)
    assert one == two


def test_middle_of_another_order_is_refused() -> None:
    data = Rows(30, 8)
    data.setup("fit")
    state = {**data.state_dict(), "batches_done": 2}
    data.load_state_dict(state)
    for name, saved, now in (("batch_size", 4, 8), ("world_size", 2, 1), ("size", 31, 30)):
        with pytest.raises(ResumeError) as caught:
            data.load_state_dict({**state, name: saved})
        assert str(caught.value) == (
            f"the checkpoint is from the middle of an epoch with {name}={saved}, this run has {now};"
            f" resume with {name}={saved} or from a checkpoint of an epoch's end"
        )
        data.load_state_dict({**state, name: saved, "batches_done": 4})  # the end of an epoch: nothing to find again


class Unreadable(Dataset[Any]):
    """Fails as it would in this process, or in the words in which torch hands on what a worker process raised."""

    def __init__(self, in_worker: bool) -> None:
        self.in_worker = in_worker

    def __getitem__(self, indices: Tensor) -> Any:
        try:
            raise DataError("file x is damaged")
        except DataError:
            if self.in_worker:
                ExceptionWrapper(where="in DataLoader worker process 0").reraise()
            raise


@pytest.mark.parametrize("in_worker", [False, True])
def test_error_of_a_worker_is_one_line(in_worker: bool) -> None:
    loader = BatchLoader(Unreadable(in_worker), BatchOrder(4, 2, False))
    with pytest.raises(DataError) as caught:
        next(iter(loader))
    assert str(caught.value) == "file x is damaged"


def test_full_batch_is_the_whole_split() -> None:
    data = Rows(50, "full")
    data.setup("fit")
    (batch,) = list(data.train_dataloader())
    assert sorted(batch[1].tolist()) == list(range(50))
    assert data.last_batch_size == 50


def test_last_batch_size_and_drop_last() -> None:
    for size, drop_last, expected in ((17, False, 1), (17, True, 8), (16, False, 8), (16, True, 8)):
        data = Rows(size, 8, drop_last=drop_last)
        data.setup("fit")
        sizes = [len(batch[1]) for batch in data.train_dataloader()]
        assert sizes[-1] == data.last_batch_size == expected
        assert sum(len(batch[1]) for batch in data.val_dataloader()) == size, "evaluation drops nothing"


def test_settings_that_cannot_work_are_named() -> None:
    with pytest.raises(DataError, match="batch_size must be at least 1 or 'full', got 0"):
        Rows(batch_size=0)
    with pytest.raises(DataError, match="eval_batch_size must be at least 1, got 0"):
        Rows(eval_batch_size=0)
    with pytest.raises(DataError, match=r"Rows train: 5 samples make no full batch of 8; lower --data.batch_size"):
        Rows(5, 8, drop_last=True).setup("fit")
    with pytest.raises(DataError, match="Rows train: the split is empty"):
        Rows(0).setup("fit")


@pytest.mark.parametrize(
    ("fact", "why"),
    [
        ("num_classes", "targets are not classes"),
        ("num_targets", "targets are classes"),
        ("in_features", "no fixed size"),
        ("in_channels", "not images"),
        ("image_size", "not images"),
    ],
)
def test_fact_that_is_lacking_says_why(fact: str, why: str) -> None:
    with pytest.raises(DataError, match=f"the model asks for {fact}, which Rows does not have: .*{why}"):
        getattr(Rows(), fact)


class Recorder(LightningModule):
    """Writes down which samples each training step saw."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(1, 1)
        self.seen: list[tuple[int, list[int]]] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.seen.append((self.current_epoch, batch[1].tolist()))
        return self.linear(batch[0] / 50).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.01)


class SaveAt(Callback):
    def __init__(self, step: int, path: str) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer: Trainer, *rest: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def fit(callbacks: list[Callback], ckpt_path: str | None = None) -> list[tuple[int, list[int]]]:
    module = Recorder()
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=3,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    trainer.fit(module, Rows(30, 8), ckpt_path=ckpt_path)
    return module.seen


@pytest.mark.parametrize("step", [5, 7])
def test_run_stopped_in_the_middle_of_an_epoch_sees_the_rest(step: int, tmp_path: Any) -> None:
    path = str(tmp_path / "middle.ckpt")
    whole = fit([SaveAt(step, path)])
    assert len(whole) == 12
    assert fit([], path) == whole[step:]
