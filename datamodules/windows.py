"""Windows over one or many series, gathered as whole batches from the flat series: no window is kept as a copy."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from zoo.errors import DataError


def window_starts(
    bounds: Tensor,
    first_rows: Tensor,
    window: int,
    horizon: int,
    stride: int = 1,
    gap: int = 0,
    names: Sequence[str] | None = None,
) -> Tensor:
    """First input row of each window whose targets lie wholly within bounds, and whose inputs within its series.

    A window at row s has the inputs s ... s + window - 1 and the targets s + window + gap ... + horizon - 1. Its inputs
    may lie before the bounds: they are known when the targets are forecast.

    Args:
        bounds: int64 (K, 2), the rows of each series that may be targets: the first, and the one behind the last.
        first_rows: int64 (K,), the first row of each series.
        window, horizon, gap: in rows.
        stride: rows from one window to the next of a series.
        names: of the series, for errors.

    Returns:
        int64 (N,), series by series.

    Raises:
        DataError: a series is too short for a single window; names it.
    """
    starts = []
    for series, (low, high) in enumerate(bounds.tolist()):
        own = int(first_rows[series])
        first = max(low - window - gap, own)
        last = high - horizon - window - gap
        if last < first:
            name = names[series] if names else series
            raise DataError(
                f"series {name} has {high - max(low, own)} rows for targets and {high - own} in all; a window of"
                f" {window}, a gap of {gap} and a horizon of {horizon} need {horizon} and {window + gap + horizon}"
            )
        starts.append(torch.arange(first, last + 1, stride))
    return torch.cat(starts)


class WindowSplit(Dataset[Any]):
    """Windows indexed by whole batches: ``split[indices] -> (x (B, window, C), y (B, horizon, targets), indices)``.

    Args:
        values: float32 (R, C), all series end to end, the series to forecast first.
        num_targets: channels to forecast.
        starts: first input row of each window, int64 (N,).
        window, horizon, gap: in rows.
    """

    def __init__(
        self, values: Tensor, num_targets: int, starts: Tensor, window: int, horizon: int, gap: int = 0
    ) -> None:
        self.starts, self.window, self.horizon, self.gap = starts, window, horizon, gap
        self._inputs = _View(values, window)
        self._targets = _View(values[:, :num_targets].contiguous(), horizon)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, indices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        start = self.starts[indices]
        return self._inputs[start], self._targets[start + self.window + self.gap], indices

    @property
    def input_rows(self) -> Tensor:
        """First and last row of each window's inputs, int64 (N, 2)."""
        return torch.stack([self.starts, self.starts + self.window - 1], 1)

    @property
    def target_rows(self) -> Tensor:
        """First and last row of each window's targets, int64 (N, 2)."""
        first = self.starts + self.window + self.gap
        return torch.stack([first, first + self.horizon - 1], 1)


class _View:
    """All stretches of ``steps`` rows as one overlapping view; a batch is then one copy of whole stretches."""

    def __init__(self, values: Tensor, steps: int) -> None:
        self.shape = (-1, steps, values.shape[1])
        self.rows = values.flatten().unfold(0, steps * values.shape[1], values.shape[1])  # (R - steps + 1, steps * C)

    def __getitem__(self, start: Tensor) -> Tensor:
        return self.rows.index_select(0, start).view(self.shape)
