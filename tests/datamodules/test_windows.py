"""Windows: which there are, by a loop over all rows; never across series, targets within their bounds."""

import pytest
import torch

from datamodules.windows import WindowSplit, window_starts
from zoo.errors import DataError


@pytest.mark.parametrize(
    ("window", "horizon", "stride", "gap"), [(4, 2, 1, 0), (5, 3, 2, 1), (1, 1, 3, 4), (7, 7, 1, 0)]
)
def test_equals_a_loop_over_all_rows(window: int, horizon: int, stride: int, gap: int) -> None:
    first_rows, ends = [0, 40, 75], [40, 75, 100]
    bounds = [(8, 36), (60, 75), (83, 99)]
    expected = []
    for own, end, (low, high) in zip(first_rows, ends, bounds, strict=True):
        fits = [
            start for start in range(own, end) if start + window + gap >= low and start + window + gap + horizon <= high
        ]
        expected += fits[::stride]
    starts = window_starts(torch.tensor(bounds), torch.tensor(first_rows), window, horizon, stride, gap)
    assert starts.tolist() == expected

    values = torch.arange(300.0).view(100, 3)
    split = WindowSplit(values, 2, starts, window, horizon, gap)
    index = torch.arange(len(starts)).flip(0)
    x, y, same = split[index]
    assert same is index
    for row, start in enumerate(starts[index].tolist()):
        assert torch.equal(x[row], values[start : start + window])
        ahead = start + window + gap
        assert torch.equal(y[row], values[ahead : ahead + horizon, :2])
    assert torch.equal(split.input_rows[:, 0], starts)
    assert (split.target_rows[:, 1] - split.target_rows[:, 0] == horizon - 1).all()
    assert (split.target_rows[:, 0] - split.input_rows[:, 1] == gap + 1).all()


def test_a_batch_is_no_view_of_the_series() -> None:
    values = torch.zeros(10, 1)
    x, y, _ = WindowSplit(values, 1, torch.tensor([0, 1]), 3, 2)[torch.tensor([0, 1])]
    x += 1
    y += 1
    assert not values.any()


def test_a_series_that_is_too_short_is_named() -> None:
    bounds = torch.tensor([[0, 20], [20, 29]])
    with pytest.raises(DataError) as caught:
        window_starts(bounds, bounds[:, 0], 8, 2)
    assert str(caught.value) == (
        "series 1 has 9 rows for targets and 9 in all; a window of 8, a gap of 0 and a horizon of 2 need 2 and 10"
    )
