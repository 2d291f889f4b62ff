"""Sequences of different lengths in memory: scaled by what the training rows say, batched by length, padded."""

from abc import abstractmethod
from functools import cached_property, partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.base import ZooDataModule
from datamodules.checks import check_labels, check_values, stratified_split
from datamodules.length_buckets import LengthBuckets
from datamodules.ragged import Sequences, SequenceSplit, add_padding
from datamodules.raw_sequences import RawSequences
from datamodules.sequence_scaler import Missing, SequenceScaler, check_gaps
from zoo.errors import DataError
from zoo.preprocessing import Preprocessing
from zoo.randomness import permutation


class SequenceDataModule(ZooDataModule):
    """Base of sequences of numbers: a batch is x (B, T, C), y and lengths (B,), zeros behind each sequence's end.

    A subclass states ``channels`` and either ``classes`` or ``targets``, and returns all sequences from ``read``. A
    channel becomes ``(x - mean) / std`` with mean and std of the training sequences' steps; what was learned travels in
    the checkpoint. Evaluation keeps the order of the split, so that predictions are in that order too.

    Args:
        batch_size: training sequences in a step of one process, or "full".
        val_fraction: share of the sequences that are not test to hold out for validation, the same of every class.
        pool: batches whose sequences are sorted by length before they are cut into batches; 1 makes batches at random,
            10 to 50 leave little padding. See LengthBuckets.
        pad_to_multiple: the length of a batch is rounded up to a multiple of this.
        missing, missing_flags: what to do with missing values, and whether the network is told; see SequenceScaler.
        split_seed: decides which sequences are held out; not the seed of the run, so that seeds share a split.
        eval_batch_size, drop_last: see ZooDataModule.

    Attributes:
        per_step: whether every step has a class (tagging) rather than every sequence; y is then int64 (B, T), -100
            where padded.
    """

    channels: tuple[str, ...]
    classes: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    per_step: bool = False

    def __init__(
        self,
        batch_size: int | Literal["full"] = 32,
        val_fraction: float = 0.2,
        pool: int = 1,
        pad_to_multiple: int = 1,
        missing: Missing = "error",
        missing_flags: bool = False,
        split_seed: int = 0,
        eval_batch_size: int = 512,
        drop_last: bool = False,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, drop_last)
        for name, value in (("pool", pool), ("pad_to_multiple", pad_to_multiple)):
            if value < 1:
                raise DataError(f"{name} must be at least 1, got {value}")
        self.val_fraction, self.split_seed = val_fraction, split_seed
        self.pool, self.pad_to_multiple = pool, pad_to_multiple
        self.missing_policy: Missing = missing
        self.missing_flags = missing_flags

    # Facts ----------------------------------------------------------------------------------------------------------

    @property
    def num_channels(self) -> int:
        return len(self.channels) * (2 if self.missing_flags else 1)

    @property
    def num_classes(self) -> int:
        return len(self.classes) if self.classes else super().num_classes

    @property
    def num_targets(self) -> int:
        return len(self.targets) if self.targets else super().num_targets

    @property
    def train_targets(self) -> Tensor:
        """Targets of the training sequences, (n, ...), or the tags of all their steps, (steps,)."""
        split = self.splits["train"]
        assert isinstance(split, SequenceSplit)
        return split.y

    @property
    def fitted_rows(self) -> Tensor:
        """First and last of each span of rows that the scaler has learned from, int64 (n, 2)."""
        return self.scaler.fitted_rows

    @property
    def raw_rows(self) -> Tensor:
        """The table of all steps in their own units, (S, channels); NaN is missing."""
        return self.sequences.values

    def input_rows(self, split: str) -> Tensor:
        """First and last row of each sequence of a split in the table of all steps, int64 (n, 2)."""
        return self.sequences.spans[self.members[split]]

    def part_rows(self, split: str) -> Tensor:
        """The same: a split is made of whole sequences."""
        return self.input_rows(split)

    # Splits ---------------------------------------------------------------------------------------------------------

    @abstractmethod
    def read(self) -> Sequences:
        """All sequences, in their own units."""

    def part(self, sequences: Sequences) -> dict[str, Tensor]:
        """Which sequences are "train", "val" and "test": a fifth is test, ``val_fraction`` of the others val."""
        rest, test = self.hold_out(sequences, torch.arange(len(sequences.lengths)), 0.2, "test")
        train, val = self.hold_out(sequences, rest, self.val_fraction, "val")
        return {"train": train, "val": val, "test": test}

    def hold_out(self, sequences: Sequences, members: Tensor, fraction: float, name: str) -> tuple[Tensor, Tensor]:
        """Part ``members`` into (kept, held out), both sorted; the same share of every class is held out."""
        order = permutation(len(members), self.split_seed, f"{name} split")
        if self.classes and not self.per_step:
            kept, held_out = stratified_split(sequences.y[members], fraction, order)
            return members[kept], members[held_out]
        if not 0 < fraction < 1:
            raise DataError(f"val_fraction must lie in (0, 1), got {fraction}")
        held_out, kept = order.tensor_split([max(1, round(fraction * len(members)))])
        return members[kept.sort().values], members[held_out.sort().values]

    @cached_property
    def sequences(self) -> Sequences:
        """All sequences in their own units, read once and checked."""
        sequences = self.read()
        self._check_sequences(sequences)
        return sequences

    @cached_property
    def members(self) -> dict[str, Tensor]:
        """Which sequences each split has."""
        return self.part(self.sequences)

    @cached_property
    def scaler(self) -> SequenceScaler:
        """The scaler, which has seen the training sequences."""
        scaler = SequenceScaler(self.missing_policy, self.missing_flags)
        return scaler.fit(self.sequences.values, self.input_rows("train"))

    def load(self) -> dict[str, Dataset[Any]]:
        scaled = self.scaled(self.sequences)
        return {
            name: SequenceSplit(scaled, members, self.per_step, self.pad_to_multiple)
            for name, members in self.members.items()
        }

    def preprocessing(self) -> Preprocessing | None:
        scaler = self.scaler
        return RawSequences(
            self.classes or self.targets, self.channels, scaler.missing, scaler.flags, scaler.mean, scaler.std
        )

    def scaled(self, sequences: Sequences) -> Sequences:
        """The sequences as the network takes them, and as splits do."""
        values = self.scaler.transform(sequences.values, sequences.offsets)
        return add_padding(sequences._replace(values=values), self.per_step)

    def where(self, sequences: Sequences, row: int, channel: int) -> str:
        """How errors call the value of a step."""
        sequence = int(torch.searchsorted(sequences.offsets, row, right=True)) - 1
        step = row - int(sequences.offsets[sequence])
        return f"{type(self).__name__}: sequence {sequence}, step {step}, channel {self.channels[channel]!r}"

    def _check_sequences(self, sequences: Sequences) -> None:
        name = type(self).__name__
        if not len(sequences.lengths):
            raise DataError(f"{name}: there are no sequences")
        empty = (sequences.lengths == 0).nonzero().flatten()
        if len(empty):
            raise DataError(f"{name}: sequence {int(empty[0])} has length 0; remove it")
        check_gaps(sequences.values, self.missing_policy, name, partial(self.where, sequences))
        if self.classes:
            check_labels(sequences.y, len(self.classes), name)
        else:
            check_values(sequences.y, name)

    # Loaders and checkpoints ----------------------------------------------------------------------------------------

    def train_order(self) -> LengthBuckets:
        split = self.splits["train"]
        assert isinstance(split, SequenceSplit)
        rank, world_size = self._place()
        batch_size = -(-len(split) // world_size) if self.batch_size == "full" else self.batch_size
        return LengthBuckets(split.lengths, batch_size, self.pool, self.drop_last, rank, world_size)

    def state_dict(self) -> dict[str, Any]:
        """Adds what the network's inputs and outputs mean."""
        names = {"channels": list(self.channels), "classes": list(self.classes)}
        return {**super().state_dict(), **names, "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Scale as the network was trained, and refuse other channels or classes than it was trained on."""
        super().load_state_dict(state)
        for name, own in (("channels", self.channels), ("classes", self.classes)):
            if list(own) != state[name]:
                raise DataError(
                    f"{type(self).__name__}: the checkpoint has the {name} {', '.join(state[name])}; these data have"
                    f" {', '.join(own)}"
                )
        self.scaler.load_state_dict(state["scaler"])
        if self.splits:  # they were scaled before the checkpoint was read
            self.splits = self.load()
