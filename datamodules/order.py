"""The order of the samples, and loaders that a run may leave in the middle of an epoch and take up again."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from zoo.errors import DataError
from zoo.randomness import permutation, run_seed


class BatchOrder(Sampler[Tensor]):
    """Yields the indices of whole batches: a function of (seed, epoch) and of this process' rank, of nothing else.

    Args:
        size: samples in the split.
        batch_size: samples in a batch of one process.
        shuffle: a new permutation each epoch; otherwise the order of the split.
        drop_last: leave out a last batch that is not full.
        rank, world_size: this process and how many there are.

    Attributes:
        batches_done: how many batches of the epoch are behind us, asked when the first batch is drawn.
    """

    def __init__(
        self, size: int, batch_size: int, shuffle: bool, drop_last: bool = False, rank: int = 0, world_size: int = 1
    ) -> None:
        self.size, self.batch_size, self.shuffle, self.drop_last = size, batch_size, shuffle, drop_last
        self.rank, self.world_size = rank, world_size
        self.seed, self.epoch = run_seed(), 0
        self.batches_done: Callable[[], int] = int

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    @property
    def samples(self) -> int:
        """Samples of an epoch for this process."""
        # While training every rank gets as many as the first (the others repeat one): the ranks step together.
        # In evaluation nothing is repeated, so that metrics are those of the split; see ``__iter__``.
        first = 0 if self.shuffle else self.rank
        return len(range(first, self.size, self.world_size))

    def __len__(self) -> int:
        if self.drop_last:
            return self.samples // self.batch_size
        return -(-(self.samples + self._splits_last) // self.batch_size)

    @property
    def _splits_last(self) -> bool:
        """Whether the first rank evaluates a batch more, of a single sample: as many batches are made of fewer samples.

        Ranks that hold shards of the weights have to step together.
        """
        fewer = self.samples < len(range(0, self.size, self.world_size))
        return fewer and self.batch_size > 1 and self.samples % self.batch_size == 0 and not self.drop_last

    @property
    def last_batch_size(self) -> int:
        """Samples in the last batch of an epoch."""
        return self.batch_size if self.drop_last else self.samples % self.batch_size or self.batch_size

    def facts(self) -> dict[str, int]:
        """What the k-th batch of an epoch depends on beside k and the epoch."""
        return {"size": self.size, "batch_size": self.batch_size, "world_size": self.world_size, "seed": self.seed}

    def arrange(self) -> Tensor:
        """The epoch's samples of all ranks in their order, int64 (size,)."""
        return permutation(self.size, self.seed, "order", self.epoch) if self.shuffle else torch.arange(self.size)

    def __iter__(self) -> Iterator[Tensor]:
        # A generator: Lightning calls iter() before it sets the epoch, and the body runs at the first next().
        order = self.arrange()
        mine = order[self.rank :: self.world_size]
        if len(mine) < self.samples:
            mine = torch.cat([mine, order[:1]])
        ends = [min((batch + 1) * self.batch_size, len(mine)) for batch in range(len(self))]
        if self._splits_last:
            ends[-2] -= 1
        for batch in range(self.batches_done(), len(self)):
            yield mine[ends[batch - 1] if batch else 0 : ends[batch]]


class BatchLoader:
    """A loader of whole batches that a run may leave in the middle of an epoch and take up again.

    The order is a function of the epoch, and the position is Lightning's own count of finished batches. Holds a
    DataLoader instead of being one: Lightning rebuilds loaders of that class with samplers of its own.
    """

    def __init__(self, split: Dataset[Any], order: BatchOrder, num_workers: int = 0, pin_memory: bool = False) -> None:
        # Lightning sets the epoch on one of these, and asks whether the other is there.
        self.sampler, self.batch_sampler = order, None
        self.loader: Iterable[Any]
        if num_workers or pin_memory:
            self.loader = DataLoader(
                split,
                sampler=order,
                batch_size=None,  # the sampler yields whole batches
                num_workers=num_workers,
                pin_memory=pin_memory,
                persistent_workers=num_workers > 0,
            )
        else:
            self.loader = _InProcess(split, order)

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Any]:
        # A generator as well: workers would start to fetch the old epoch's order before set_epoch().
        try:
            yield from self.loader
        except DataError as error:
            # A worker process hands its traceback on as the text of the error; what a user needs is the last line.
            *before, line = str(error).strip().splitlines()
            if not before:
                raise
            raise DataError(line.removeprefix(f"{DataError.__module__}.{DataError.__name__}: ")) from error

    def state_dict(self) -> dict[str, int]:
        """The epoch that is under way; with ``load_state_dict`` it tells Lightning that this loader can resume."""
        return {"epoch": self.sampler.epoch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Nothing: epoch and position come from the restored loop."""


class _InProcess:
    """The samples themselves, without a DataLoader's bookkeeping, which is most of a small batch's time."""

    def __init__(self, split: Dataset[Any], order: BatchOrder) -> None:
        self.split, self.order = split, order

    def __iter__(self) -> Iterator[Any]:
        for indices in self.order:
            yield self.split[indices]
