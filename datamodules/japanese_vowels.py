"""Japanese vowels: 640 short sequences of different lengths, which come with the project."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from datamodules.ragged import Sequences
from datamodules.sequences import SequenceDataModule

_FILE = Path(__file__).parent / "embedded" / "japanese_vowels.npz"
_TRAIN = 270


class JapaneseVowels(SequenceDataModule):
    """Which of 9 men says /ae/: 12 cepstrum coefficients a step, 7 to 29 steps; 270 utterances to train, 370 to test.

    The test split is the published one (24 to 88 utterances of a speaker); ``val_fraction`` of the 30 training
    utterances of each speaker is held out for validation.

    Source: Kudo, Toyama and Shimbo, "Multidimensional curve classification using passing-through regions", 1999 (UCI,
    CC BY 4.0); nothing to download.

    Args:
        batch_size, val_fraction, pool, pad_to_multiple, eval_batch_size, drop_last: see SequenceDataModule.
        split_seed: decides which training utterances are val.
    """

    channels = tuple(f"c{number}" for number in range(1, 13))
    classes = tuple(f"speaker {number}" for number in range(1, 10))

    def __init__(
        self,
        batch_size: int | Literal["full"] = 32,
        val_fraction: float = 0.2,
        pool: int = 1,
        pad_to_multiple: int = 1,
        split_seed: int = 0,
        eval_batch_size: int = 512,
        drop_last: bool = False,
    ) -> None:
        super().__init__(
            batch_size, val_fraction, pool, pad_to_multiple,
            split_seed=split_seed, eval_batch_size=eval_batch_size, drop_last=drop_last,
        )  # fmt: skip

    def read(self) -> Sequences:
        with np.load(_FILE, allow_pickle=False) as stored:
            values, lengths, y = (torch.from_numpy(stored[name]) for name in ("values", "lengths", "y"))
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.long().cumsum(0)])
        return Sequences(values.double() / 1e6, offsets, y.long())  # kept as millionths, which the files' digits are

    def part(self, sequences: Sequences) -> dict[str, Tensor]:
        """Rows of "train", "val" and "test"; the last are those of the published test file."""
        train, val = self.hold_out(sequences, torch.arange(_TRAIN), self.val_fraction, "val")
        return {"train": train, "val": val, "test": torch.arange(_TRAIN, len(sequences.lengths))}
