"""Channels of sequences on one scale, with what the training rows say and nothing else; gaps filled or refused."""

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from datamodules.ragged import expand
from zoo.errors import DataError
from zoo.notice import notice

Missing: TypeAlias = Literal["error", "forward", "zero", "mean"]


def forward_fill(values: Tensor, offsets: Tensor) -> Tensor:
    """Each gap takes the last value before it in its own sequence; gaps at a sequence's beginning stay NaN.

    Args:
        values: floats (S, C), sequences end to end; NaN is a gap.
        offsets: int64 (N + 1,), where each sequence begins, and S.
    """
    row = torch.arange(len(values))
    first = offsets[torch.searchsorted(offsets, row, right=True) - 1]  # (S,) first row of the row's own sequence
    seen = torch.where(values.isnan(), -1, row[:, None]).cummax(0).values  # (S, C) last row that has a value
    return torch.where(seen >= first[:, None], values.gather(0, seen.clamp(min=0)), torch.nan)


class SequenceScaler:
    """(x - mean) / std of each channel, learned from the rows given to ``fit``; a constant channel is only shifted.

    Args:
        missing: what to do with a gap (NaN): "error" refuses it; "forward" repeats the last value of the sequence, and
            takes the training mean where there is none before it; "zero" and "mean" take 0, in the channel's own unit,
            or the training mean.
        flags: add one channel for each, behind them all, that is 1 where a value was missing and else 0.
        standardize: False leaves all values in their own units; gaps are filled all the same.

    Attributes:
        mean, std: float64 (C,), of the values that are there (divisor N).
        fitted_rows: int64 (N, 2), first and last of each span of rows that ``fit`` has seen.
    """

    def __init__(self, missing: Missing = "error", flags: bool = False, standardize: bool = True) -> None:
        self.missing: Missing = missing
        self.flags, self.standardize = flags, standardize
        self.mean = self.std = torch.empty(0)
        self.fitted_rows = torch.empty(0, 2, dtype=torch.int64)

    def fit(self, values: Tensor, spans: Tensor) -> "SequenceScaler":
        """Learn mean and deviation.

        Args:
            values: floats (S, C); NaN is a gap.
            spans: int64 (N, 2), first and last of the rows to learn from.

        Raises:
            DataError: a channel has no value in any of these rows.
        """
        known = values[expand(spans[:, 0], spans[:, 1] - spans[:, 0] + 1)].double()
        empty = known.isnan().all(0).nonzero().flatten()
        if len(empty):
            raise DataError(f"channel {int(empty[0])} (counted from 0) has no value in any training row; leave it out")
        self.mean = known.nanmean(0)
        std = (known - self.mean).square().nanmean(0).sqrt()
        # Rounding leaves a deviation of about 1e-17 times the mean in a channel that is constant.
        self.std = std.where(std > 1e-12 * self.mean.abs(), 1.0)
        self.fitted_rows = spans
        return self

    def fill(self, values: Tensor, offsets: Tensor) -> Tensor:
        """The values without gaps, in their own units: float64 (S, C)."""
        values = values.double()
        if self.missing == "forward":
            values = forward_fill(values, offsets)
        return torch.where(values.isnan(), 0.0 if self.missing == "zero" else self.mean, values)

    def transform(self, values: Tensor, offsets: Tensor) -> Tensor:
        """Float32 (S, C), or (S, 2 C) with flags."""
        filled = self.fill(values, offsets)
        scaled = (filled - self.mean) / self.std if self.standardize else filled
        return (torch.cat([scaled, values.isnan()], 1) if self.flags else scaled).float()

    def state_dict(self) -> dict[str, Any]:
        """What was learned."""
        return {"mean": self.mean, "std": self.std, "fitted_rows": self.fitted_rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what another scaler has learned."""
        self.mean, self.std = state["mean"].cpu(), state["std"].cpu()
        self.fitted_rows = state["fitted_rows"].cpu()


def check_gaps(values: Tensor, missing: Missing, name: str, where: Callable[[int, int], str]) -> None:
    """Refuse infinite values, and missing ones under "error"; otherwise tell how many are filled.

    Args:
        values: floats (S, C); NaN is missing.
        missing: see SequenceScaler.
        name: of the data, for the notice.
        where: what a row and a channel are called in errors.
    """
    infinite, gaps = values.isinf().nonzero(), values.isnan()
    if len(infinite):
        raise DataError(f"{where(*infinite[0].tolist())} is infinite; correct it")
    count = int(gaps.sum())
    if count and missing == "error":
        raise DataError(
            f"{where(*gaps.nonzero()[0].tolist())} is missing ({count:,} values in all); fill it, or set --data.missing"
            " to forward, zero or mean"
        )
    if count:
        notice(f"{name}: {count:,} of {gaps.numel():,} values are missing, and filled in inputs ({missing})")
