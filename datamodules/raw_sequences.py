"""Sequences of numbers as people have them: arrays of different lengths, in their own units."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from datamodules.sequence_scaler import Missing, SequenceScaler, check_gaps
from zoo.errors import DataError
from zoo.preprocessing import Preprocessing


def as_sequences(raw: Any, channels: Sequence[str]) -> list[Tensor]:
    """Float64 (T, C) of each sequence: of one array (T, C) or (N, T, C), or of a list of arrays (T, C).

    Raises:
        DataError: names the first sequence that has another shape.
    """
    if isinstance(raw, np.ndarray | Tensor):
        raw = [raw] if raw.ndim <= 2 else list(raw)
    elif not isinstance(raw, Sequence):
        raise DataError(f"sequences are arrays (steps, {len(channels)}) or a list of them, got {type(raw).__name__}")
    elif raw and not isinstance(raw[0], np.ndarray | Tensor | Sequence):
        raw = [raw]  # the values of a single channel
    if not len(raw):
        raise DataError("there is no sequence")
    found = []
    for place, one in enumerate(raw):
        values = torch.as_tensor(np.asarray(one, dtype=np.float64))
        if values.ndim == 1 and len(channels) == 1:
            values = values[:, None]
        if values.ndim != 2 or values.shape[1] != len(channels) or not len(values):
            raise DataError(
                f"sequence {place} has the shape {tuple(values.shape)}; it is (steps, {len(channels)}), the channels"
                f" {', '.join(channels[:8])}{', ...' * (len(channels) > 8)}"
            )
        found.append(values)
    return found


@dataclass(frozen=True)
class RawSequences(Preprocessing):
    """Scaled sequences (N, T, C), zeros behind each one's end, and their lengths.

    Args:
        outputs: names of the classes or targets.
        channels: of a step, in order.
        missing, missing_flags: see SequenceScaler.
        mean, std: of each channel, float64 (C,).
    """

    channels: tuple[str, ...]
    missing: Missing
    missing_flags: bool
    mean: Tensor
    std: Tensor

    def __call__(self, raw: Any) -> tuple[Tensor, Tensor]:
        sequences = as_sequences(raw, self.channels)
        lengths = torch.tensor([len(one) for one in sequences])
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
        values = torch.cat(sequences)
        check_gaps(values, self.missing, "sequences", lambda row, channel: self._where(offsets, row, channel))
        scaler = SequenceScaler(self.missing, self.missing_flags)
        scaler.mean, scaler.std = self.mean, self.std
        scaled = scaler.transform(values, offsets)
        return pad_sequence(list(scaled.split(lengths.tolist())), batch_first=True), lengths

    def _where(self, offsets: Tensor, row: int, channel: int) -> str:
        sequence = int(torch.searchsorted(offsets, row, right=True)) - 1
        return f"sequence {sequence}, step {row - int(offsets[sequence])}, channel {self.channels[channel]!r}"
