"""Sequences of different lengths in one flat tensor, gathered and padded as whole batches by index arithmetic."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

IGNORED = -100
"""The tag of a padded step, which torch's losses leave out."""


class Sequences(NamedTuple):
    """N sequences end to end, S steps in all.

    Attributes:
        values: floats (S, C), NaN where a value is missing; or int64 tokens (S,).
        offsets: int64 (N + 1,), where each sequence begins, and S.
        y: of each sequence, (N,) classes or (N, ...) values; or int64 tags of each step, (S,).
    """

    values: Tensor
    offsets: Tensor
    y: Tensor

    @property
    def lengths(self) -> Tensor:
        """Steps of each sequence, int64 (N,)."""
        return self.offsets.diff()

    @property
    def spans(self) -> Tensor:
        """First and last row of each sequence, int64 (N, 2)."""
        return torch.stack([self.offsets[:-1], self.offsets[1:] - 1], 1)


def add_padding(sequences: Sequences, per_step: bool = False) -> Sequences:
    """One row behind all others, which belongs to no sequence: zeros, with the tag -100 where steps have tags.

    Every padded step of a batch reads it. To mask a batch instead takes several times as long as to gather it.
    """
    values, y = sequences.values, sequences.y
    values = torch.cat([values, values.new_zeros(1, *values.shape[1:])])
    return sequences._replace(values=values, y=torch.cat([y, y.new_full((1,), IGNORED)]) if per_step else y)


class SequenceSplit(Dataset[Any]):
    """Some of the sequences, indexed by whole batches: ``split[indices] -> (x, y, lengths, indices)``.

    x is (B, T, C), or (B, T) for tokens, with zeros behind each sequence's end and T the longest of the batch. Lengths
    are None where all sequences of the split are equally long and fill T.

    Args:
        sequences: all sequences, as ``add_padding`` returns them; splits share their memory.
        members: which of them this split has, int64 (n,).
        per_step: whether y are tags of steps.
        pad_to_multiple: T is rounded up to a multiple of this, for kernels that like few different shapes.
    """

    def __init__(self, sequences: Sequences, members: Tensor, per_step: bool = False, pad_to_multiple: int = 1) -> None:
        self.values, self.tags = sequences.values, sequences.y if per_step else None
        self.starts, self.lengths = sequences.offsets[:-1][members], sequences.lengths[members]
        self.y = sequences.y[expand(self.starts, self.lengths) if per_step else members]
        self.pad_to_multiple = pad_to_multiple
        longest = int(self.lengths.max()) if len(members) else 0
        self.padded = bool((self.lengths < -(-longest // pad_to_multiple) * pad_to_multiple).any())

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, indices: Tensor) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        lengths = self.lengths[indices]
        steps = -(-int(lengths.max()) // self.pad_to_multiple) * self.pad_to_multiple
        step = torch.arange(steps)
        row = (self.starts[indices][:, None] + step).where(step < lengths[:, None], len(self.values) - 1)  # (B, T)
        x = self.values.index_select(0, row.flatten()).view(*row.shape, *self.values.shape[1:])
        y = self.y[indices] if self.tags is None else self.tags[row]
        return x, y, lengths if self.padded else None, indices


def expand(starts: Tensor, lengths: Tensor) -> Tensor:
    """Every row of the spans that begin at ``starts``: int64 (N,) and (N,) -> (lengths.sum(),)."""
    before = lengths.cumsum(0) - lengths  # rows of the spans before each
    return torch.repeat_interleave(starts - before, lengths) + torch.arange(int(lengths.sum()))
