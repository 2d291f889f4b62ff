"""Batches of sequences of about the same length, so that little of a batch is padding."""

import torch
from torch import Tensor

from datamodules.order import BatchOrder
from zoo.randomness import permutation


class LengthBuckets(BatchOrder):
    """An order for training that sorts by length within pools of batches, then shuffles the batches.

    Each epoch permutes all samples, cuts them into pools of ``pool`` batches of all ranks, sorts each pool by length
    and cuts it into batches, which come in random order. Every sample comes once, all ranks get batches of one length,
    and everything is a function of (seed, epoch). The samples that fill no batch are drawn before the sorting and come
    last: neither long nor short ones are favoured.

    Args:
        lengths: steps of each sample, int64 (N,).
        batch_size: samples in a batch of one process.
        pool: batches that are sorted together; 1 leaves batches as random as without buckets, more save padding and
            make the samples of a batch more alike.
        drop_last, rank, world_size: see BatchOrder.
    """

    def __init__(
        self,
        lengths: Tensor,
        batch_size: int,
        pool: int = 1,
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(len(lengths), batch_size, True, drop_last, rank, world_size)
        self.lengths, self.pool = lengths, pool

    def arrange(self) -> Tensor:
        order = super().arrange()
        together = self.batch_size * self.world_size  # samples of one step
        steps = self.size // together
        whole, rest = order[: steps * together], order[steps * together :]
        pool = torch.arange(len(whole)) // (self.pool * together)
        # One stable sort by (pool, length); equal lengths stay in random order.
        key = pool * (int(self.lengths.max()) + 1) + self.lengths[whole]
        batches = whole[key.argsort(stable=True)].view(steps, together)
        return torch.cat([batches[permutation(steps, self.seed, "batches", self.epoch)].flatten(), rest])

    def facts(self) -> dict[str, int]:
        return {**super().facts(), "pool": self.pool}
