"""Length buckets: every sample once, little padding, a function of (seed, epoch), ranks in step, resume."""

import pytest
import torch
from torch import Tensor

from datamodules.length_buckets import LengthBuckets
from datamodules.order import BatchOrder

LENGTHS = torch.randint(7, 30, (1000,), generator=torch.Generator().manual_seed(0))


def padding(batches: list[Tensor]) -> float:
    """Share of a padded batch that is useful."""
    useful = sum(int(LENGTHS[batch].sum()) for batch in batches)
    return useful / sum(len(batch) * int(LENGTHS[batch].max()) for batch in batches)


@pytest.mark.parametrize("pool", [1, 4, 1000])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_every_sample_once_and_ranks_step_together(pool: int, drop_last: bool, world: int) -> None:
    ranks = [list(LengthBuckets(LENGTHS, 16, pool, drop_last, rank, world)) for rank in range(world)]
    assert len({tuple(map(len, batches)) for batches in ranks}) == 1
    seen = torch.cat([batch for batches in ranks for batch in batches])
    if drop_last:
        assert len(seen.unique()) == len(seen) == 1000 // (16 * world) * 16 * world
    else:
        # What is repeated fills the last step's ranks up to the first one's length.
        assert seen.unique().tolist() == list(range(1000))
        assert len(seen) - 1000 < world


def test_lengths_of_a_step_are_alike_on_all_ranks() -> None:
    ranks = [list(LengthBuckets(LENGTHS, 16, 20, True, rank, 2)) for rank in range(2)]
    for first, second in zip(*ranks, strict=True):
        together = torch.cat([LENGTHS[first], LENGTHS[second]])
        assert int(together.max() - together.min()) <= 4


def test_less_padding_than_random_batches() -> None:
    random = padding(list(BatchOrder(1000, 16, True)))
    assert padding(list(LengthBuckets(LENGTHS, 16, 20))) > 1.4 * random
    assert padding(list(LengthBuckets(LENGTHS, 16, 1))) == pytest.approx(random, abs=0.02)


def test_is_a_function_of_seed_and_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        monkeypatch.setenv("PL_GLOBAL_SEED", str(seed))
        made = LengthBuckets(LENGTHS, 16, 4)
        made.set_epoch(epoch)
        return torch.cat(list(made)).tolist()

    assert order(1, 2) == order(1, 2)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_batches_come_in_no_order_of_length_and_the_rest_is_no_longer_than_others() -> None:
    order = LengthBuckets(LENGTHS, 48, 1000)  # 40 samples fill no batch
    correlations, rest = [], []
    for epoch in range(40):
        order.set_epoch(epoch)
        batches = list(order)
        means = torch.stack([LENGTHS[batch].float().mean() for batch in batches[:-1]])
        correlations.append(torch.corrcoef(torch.stack([means, torch.arange(20.0)]))[0, 1])
        rest.append(LENGTHS[batches[-1]].float().mean())
    # Standard errors: 1 / sqrt(19) of a correlation of 20, over 40 epochs; 6.6 / sqrt(40) of a mean of 40 lengths.
    assert abs(float(torch.stack(correlations).mean())) < 4 / (19 * 40) ** 0.5
    assert float(torch.stack(rest).mean()) == pytest.approx(float(LENGTHS.float().mean()), abs=4 * 6.6 / 40)


def test_start_position_skips_what_is_done_and_the_pool_is_a_fact() -> None:
    order = LengthBuckets(LENGTHS, 16, 5)
    whole = [batch.tolist() for batch in order]
    order.batches_done = lambda: 7
    assert [batch.tolist() for batch in order] == whole[7:]
    assert order.facts()["pool"] == 5


def test_fewer_samples_than_a_batch() -> None:
    assert sorted(torch.cat(list(LengthBuckets(LENGTHS[:5], 16, 3))).tolist()) == list(range(5))
