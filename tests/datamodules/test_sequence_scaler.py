"""Scaling and gaps of sequences, against loops and numpy."""

import math

import numpy as np
import pytest
import torch

from datamodules.ragged import expand
from datamodules.sequence_scaler import SequenceScaler, forward_fill
from zoo.errors import DataError

OFFSETS = torch.tensor([0, 4, 5, 12, 20])
SPANS = torch.tensor([[4, 4], [12, 19]])


def values(gaps: float = 0.3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    made = torch.randn(20, 3, generator=generator, dtype=torch.float64) * torch.tensor([1.0, 10, 0.1]) + 5
    return made.masked_fill(torch.rand(20, 3, generator=generator) < gaps, math.nan)


def test_expand_is_a_concatenation_of_ranges() -> None:
    starts, lengths = torch.tensor([7, 0, 3]), torch.tensor([2, 0, 3])
    assert expand(starts, lengths).tolist() == [7, 8, 3, 4, 5]


def test_forward_fill_equals_a_loop() -> None:
    given = values()
    expected = given.clone()
    for first, end in zip(OFFSETS.tolist(), OFFSETS[1:].tolist()):
        for row in range(first + 1, end):
            expected[row] = torch.where(expected[row].isnan(), expected[row - 1], expected[row])
    filled = forward_fill(given, OFFSETS)
    assert torch.equal(filled.nan_to_num(99), expected.nan_to_num(99))
    assert filled.isnan().any(), "a gap at a sequence's beginning has nothing before it"


def test_learns_from_its_rows_alone() -> None:
    given = values()
    known = given[[4, *range(12, 20)]].numpy()
    scaler = SequenceScaler("mean").fit(given, SPANS)
    np.testing.assert_allclose(scaler.mean.numpy(), np.nanmean(known, 0))
    np.testing.assert_allclose(scaler.std.numpy(), np.nanstd(known, 0))
    wild = torch.full_like(given, 1e9)
    wild[4], wild[12:] = given[4], given[12:]
    again = SequenceScaler("mean").fit(wild, SPANS)
    assert torch.equal(again.mean, scaler.mean)
    assert torch.equal(again.std, scaler.std)
    assert torch.equal(scaler.fitted_rows, SPANS)


@pytest.mark.parametrize("missing", ["forward", "zero", "mean"])
def test_gaps(missing: str) -> None:
    given = values()
    scaler = SequenceScaler(missing, flags=True).fit(given, SPANS)  # type: ignore[arg-type]
    x = scaler.transform(given, OFFSETS)
    gaps = given.isnan()
    assert x.shape == (20, 6)
    assert torch.equal(x[:, 3:], gaps.float())
    assert torch.allclose(x[:, :3][~gaps], ((given - scaler.mean) / scaler.std)[~gaps].float())
    assert torch.isfinite(x).all()
    if missing == "mean":
        assert not x[:, :3][gaps].any()
    if missing == "zero":
        assert torch.allclose(x[:, :3][gaps], (-scaler.mean / scaler.std).float().expand(20, 3)[gaps])


def test_constant_channel_is_only_shifted() -> None:
    given = torch.full((20, 1), 0.1, dtype=torch.float64)
    x = SequenceScaler().fit(given, SPANS).transform(given + 2, OFFSETS)
    assert torch.allclose(x, torch.full((20, 1), 2.0))


def test_channel_without_a_value() -> None:
    given = values(0.0)
    given[12:, 1] = given[4, 1] = math.nan
    with pytest.raises(DataError, match=r"channel 1 \(counted from 0\) has no value in any training row; leave it out"):
        SequenceScaler("mean").fit(given, SPANS)
