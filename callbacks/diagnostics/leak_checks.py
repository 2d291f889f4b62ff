"""Does a score rest on rows that were trained on? Proved on the rows that splits read and a scaler has seen."""

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from zoo.task import Forecasting

# Of a channel's deviation: the same rows in another order of summation differ by 1e-12 of it, other rows by far more.
_SAME = 1e-5


@runtime_checkable
class StatesRows(Protocol):
    """Data in one table of rows, which say what of it the inputs of each split are: (n, 2), first and last rows."""

    splits: dict[str, Any]

    def input_rows(self, split: str) -> Tensor: ...


@runtime_checkable
class StatesTargetRows(StatesRows, Protocol):
    """Such data with windows, whose targets lie behind their inputs: (n, 2), first and last row of each target."""

    def target_rows(self, split: str) -> Tensor: ...


class Scaler(Protocol):
    """Mean and deviation (divisor N) of each channel over the rows that it has learned from, (C,)."""

    mean: Tensor
    std: Tensor


@runtime_checkable
class ScalesRows(Protocol):
    """Data that say which rows their scaler has learned from, which are the training part, and what the rows hold."""

    scaler: Scaler

    @property
    def fitted_rows(self) -> Tensor: ...

    @property
    def raw_rows(self) -> Tensor: ...

    def part_rows(self, split: str) -> Tensor: ...


def covered(spans: Tensor, rows: int) -> Tensor:
    """Which of so many rows lie in one of the spans (n, 2), first and last of each; bool (rows,).

    >>> covered(torch.tensor([[0, 1], [3, 3]]), 5)
    tensor([ True,  True, False,  True, False])
    """
    change = torch.zeros(rows + 1, dtype=torch.int64)
    one = torch.ones(len(spans), dtype=torch.int64)
    change.index_add_(0, spans[:, 0], one).index_add_(0, spans[:, 1] + 1, -one)
    return change.cumsum(0)[:-1] > 0


def meeting(spans: Tensor, others: Tensor) -> Tensor:
    """Which spans (n, 2) share a row with one of the others (m, 2): their places, int64 (k,)."""
    taken = covered(others, 1 + int(torch.cat([spans, others]).max())).cumsum(0)
    before = torch.cat([taken.new_zeros(1), taken])  # taken rows before each
    return (before[spans[:, 1] + 1] > before[spans[:, 0]]).nonzero().flatten()


def rows_of(data: StatesRows, split: str) -> Tensor:
    """The rows of a split that a score, or training, rests on: targets of windows, all of whole sequences."""
    return data.target_rows(split) if isinstance(data, StatesTargetRows) else data.input_rows(split)


def shared_rows(data: StatesRows) -> str | None:
    """What is wrong where a split that measures shares targets, or sequences, with the training split."""
    train = rows_of(data, "train")
    what = "window" if isinstance(data, StatesTargetRows) else "sequence"
    for split in ("val", "test"):
        if split in data.splits:
            own = rows_of(data, split)
            places = meeting(own, train)
            if len(places):
                first = int(places[0])
                low, high = own[first].tolist()
                return (
                    f"{len(places):,} of {len(own):,} {what}s of {split} are scored on rows that are training targets"
                    f" too, the first is {what} {first}, rows {low:,} to {high:,}; cut the splits apart"
                )
    return None


def histories(data: StatesTargetRows) -> str:
    """In words, how far validation and test windows read training targets as their past; "" where none does."""
    train = rows_of(data, "train")
    parts = []
    for split in ("val", "test"):
        if split in data.splits:
            own = data.input_rows(split)
            count = len(meeting(own, train))
            parts += [f"{count:,} of {len(own):,} {split} windows"] if count else []
    return " and ".join(parts)


def scaled_by_others(data: ScalesRows) -> str | None:
    """What is wrong where a scaler has learned from rows that are not of the training part.

    It must say that it has learned from training rows alone, and its mean and deviation must be those of these rows.
    """
    train, fitted, values = data.part_rows("train"), data.fitted_rows, data.raw_rows.double()
    own = covered(train, len(values))
    strange = (covered(fitted, len(values)) & ~own).nonzero().flatten()
    if len(strange):
        return (
            f"the scaler has learned from {len(strange):,} rows outside the training part, the first is row"
            f" {int(strange[0]):,}; fit it on the training rows alone"
        )
    return _other_statistics("the scaler's", data.scaler.mean, data.scaler.std, values[own])


def targets_scaled_by_others(data: ScalesRows, task: Forecasting) -> str | None:
    """The same for the task's scale of the series to forecast, which are the first columns."""
    if not task.scale_targets or not task.shifts_targets:
        return None
    values = data.raw_rows[covered(data.part_rows("train"), len(data.raw_rows)), : task.num_targets].double()
    if values.isnan().any():  # the task has seen gaps filled
        return None
    return _other_statistics("the task's", task.mean.double().cpu(), task.std.double().cpu(), values)


def _other_statistics(whose: str, mean: Tensor, std: Tensor, rows: Tensor) -> str | None:
    expected = rows.nanmean(0)
    spread = (rows - expected).square().nanmean(0).sqrt()
    # A constant channel keeps the deviation 1; float32 holds a mean to 1e-7 of itself.
    allowed = _SAME * spread + 1e-6 * expected.abs()
    constant = spread <= 1e-12 * expected.abs()
    wrong = ((mean - expected).abs() > allowed) | (((std - spread).abs() > allowed) & ~constant)
    if not wrong.any():
        return None
    channel = int(wrong.nonzero()[0])
    return (
        f"{whose} mean and deviation of channel {channel} (counted from 0) are {mean[channel]:.5g} and"
        f" {std[channel]:.5g}, those of the training rows {expected[channel]:.5g} and {spread[channel]:.5g}; fit it on"
        " the training rows alone"
    )
