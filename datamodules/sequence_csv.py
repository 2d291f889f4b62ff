"""A user's own sequences: one CSV file in long form, one row a step."""

from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.csv_table import by_value, read_csv, require_columns, to_numbers
from datamodules.grouped_csv import GroupedRows, group_rows
from datamodules.order import BatchLoader
from datamodules.ragged import Sequences, SequenceSplit
from datamodules.sequence_scaler import Missing, check_gaps
from datamodules.sequences import SequenceDataModule
from zoo.errors import DataError
from zoo.notice import notice


class SequenceCSV(SequenceDataModule):
    """Your sequences, one row a step: a fifth of them are test, ``val_fraction`` of the others val.

    Empty cells, "?", "NA", "NaN", "null" and "None" are missing values. Sequences that belong together (one patient,
    one machine) may fall into different splits: scores flatter then.

    Args:
        path: the file; UTF-8, parted by commas, semicolons or tabs.
        sequence: column that says which sequence a row belongs to.
        label: column of what to predict; the same in all rows of a sequence, or a class for every step.
        step: column of times (ISO 8601, or whole numbers), which increase within a sequence; None takes the rows in the
            order of the file.
        channels: columns of numbers that the network sees; [] takes all that are not named otherwise.
        kind: "classification" or "regression" of whole sequences, or "tagging": a class for every step.
        predict_path: a file of new sequences for ``predict``; the label is not needed. Without it the test split is
            predicted.
        batch_size, val_fraction, pool, pad_to_multiple, missing, missing_flags, split_seed, eval_batch_size: see
            SequenceDataModule.

    Raises:
        DataError: names row (as a spreadsheet counts, the header is row 1) and column.
    """

    def __init__(
        self,
        path: str,
        sequence: str,
        label: str,
        step: str | None = None,
        channels: list[str] = [],  # noqa: B006  never changed
        kind: Literal["classification", "regression", "tagging"] = "classification",
        predict_path: str | None = None,
        batch_size: int | Literal["full"] = 32,
        val_fraction: float = 0.2,
        pool: int = 1,
        pad_to_multiple: int = 1,
        missing: Missing = "error",
        missing_flags: bool = False,
        split_seed: int = 0,
        eval_batch_size: int = 512,
    ) -> None:
        super().__init__(
            batch_size, val_fraction, pool, pad_to_multiple, missing, missing_flags, split_seed, eval_batch_size
        )
        self.sequence, self.label, self.step, self.kind = sequence, label, step, kind
        self.per_step = kind == "tagging"
        self.path = Path(path).expanduser()
        self.predict_path = Path(predict_path).expanduser() if predict_path else None
        csv = read_csv(self.path)
        named = [name for name in (sequence, label, step) if name is not None]
        require_columns(csv, (*named, *channels))
        self.channels = tuple(channels or (name for name in csv.cells if name not in named))
        if not self.channels:
            raise DataError(f"{self.path}: no column is left to predict {label!r} from")
        self.grouped = group_rows(csv, sequence)
        if kind == "regression":
            self.targets = (label,)
        else:
            self.classes = tuple(sorted({cell for cell in csv.cells[label] if cell}, key=by_value))
            if len(self.classes) < 2:
                raise DataError(f"{self.path}: column {label!r} has {len(self.classes)} classes; two are needed")

    def read(self) -> Sequences:
        sequences = Sequences(*self._steps(self.grouped), self._labels())
        lengths = sequences.lengths
        outcome = f"{len(self.classes)} classes" if self.classes else "regression"
        notice(
            f"{self.path}: {len(lengths):,} sequences of {int(lengths.min())} to {int(lengths.max())} steps;"
            f" {len(self.channels)} channels: {', '.join(self.channels[:8])}{', ...' * (len(self.channels) > 8)};"
            f" {self.label}: {outcome}{' for every step' * self.per_step}"
        )
        return sequences

    @cached_property
    def new_sequences(self) -> Sequences | None:
        """The sequences to predict, in their own units; their targets are zero."""
        if self.predict_path is None:
            return None
        csv = read_csv(self.predict_path)
        require_columns(csv, [name for name in (self.sequence, self.step, *self.channels) if name is not None])
        grouped = group_rows(csv, self.sequence)
        values, offsets = self._steps(grouped)
        check_gaps(values, self.missing_policy, str(self.predict_path), partial(self._where, grouped))
        count = len(values) if self.per_step else len(offsets) - 1
        return Sequences(values, offsets, torch.zeros(count, dtype=torch.int64 if self.classes else torch.float32))

    def load(self) -> dict[str, Dataset[Any]]:
        splits = super().load()
        new = self.new_sequences
        if new is not None:
            members = torch.arange(len(new.lengths))
            splits["predict"] = SequenceSplit(self.scaled(new), members, self.per_step, self.pad_to_multiple)
        return splits

    def predict_dataloader(self) -> BatchLoader:
        return self._eval_loader("predict") if self.predict_path else super().predict_dataloader()

    def where(self, sequences: Sequences, row: int, channel: int) -> str:
        return self._where(self.grouped, row, channel)

    def _where(self, grouped: GroupedRows, row: int, channel: int) -> str:
        return grouped.where(row, self.channels[channel])

    def _steps(self, grouped: GroupedRows) -> tuple[Tensor, Tensor]:
        """Values and offsets of a file; its steps are checked to be in order."""
        if self.step is not None:
            grouped.times(self.step)
        return grouped.numbers(self.channels, "channels"), grouped.offsets

    def _labels(self) -> Tensor:
        grouped = self.grouped
        cells = grouped.cells(self.label)
        for row, cell in enumerate(cells):
            if not cell:
                raise DataError(f"{grouped.where(row, self.label)}: the label is missing; fill it or drop the row")
        if not self.per_step:
            first, last = grouped.offsets[:-1].tolist(), grouped.offsets[1:].tolist()
            for name, low, high in zip(grouped.names, first, last):
                other = next((row for row in range(low, high) if cells[row] != cells[low]), None)
                if other is not None:
                    raise DataError(
                        f"{grouped.where(other, self.label)} is {cells[other]!r}, but sequence {name!r} began with"
                        f" {cells[low]!r}; one label a sequence, or --data.kind tagging"
                    )
            cells = [cells[low] for low in first]
        if self.classes:
            code = {name: number for number, name in enumerate(self.classes)}
            return torch.tensor([code[cell] for cell in cells])
        values = torch.tensor(to_numbers(grouped.csv, self.label, "say --data.kind classification"))
        return values[grouped.rows][grouped.offsets[:-1]]
