"""Texts in two languages, sentence by sentence: tokens, batches of like length, and the way back to texts."""

from abc import abstractmethod
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.base import ZooDataModule
from datamodules.bpe import BPE, END, check_size
from datamodules.length_buckets import LengthBuckets
from datamodules.ragged import IGNORED
from datamodules.raw_subwords import RawSubwords
from zoo.errors import DataError
from zoo.notice import notice
from zoo.preprocessing import Preprocessing


class Pairs(NamedTuple):
    """Sources and their translations, as many of each."""

    sources: list[str]
    targets: list[str]


class Ragged:
    """Token numbers of N texts end to end.

    Args:
        texts: each at least one token.
    """

    def __init__(self, texts: list[list[int]]) -> None:
        self.lengths = torch.tensor([len(text) for text in texts], dtype=torch.int64)
        self.values = torch.tensor([token for text in texts for token in text], dtype=torch.int64)
        self.starts = self.lengths.cumsum(0) - self.lengths

    def padded(self, indices: Tensor, filling: int) -> Tensor:
        """Some of the texts as a batch, int64 (B, T), with ``filling`` behind their ends."""
        lengths, starts = self.lengths[indices][:, None], self.starts[indices][:, None]
        step = torch.arange(int(lengths.max()))
        place = (starts + step).clamp(max=len(self.values) - 1)
        return self.values[place].masked_fill(step >= lengths, filling)


class PairSplit(Dataset[Any]):
    """Pairs of texts, indexed by whole batches: ``split[indices] -> (x, y, lengths, indices)``.

    x are sources, int64 (B, S), with zeros behind their ends; y targets, int64 (B, T), with -100; lengths those of x.
    """

    def __init__(self, sources: Ragged, targets: Ragged) -> None:
        self.sources, self.targets = sources, targets

    def __len__(self) -> int:
        return len(self.sources.lengths)

    def __getitem__(self, indices: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x, y = self.sources.padded(indices, 0), self.targets.padded(indices, IGNORED)
        return x, y, self.sources.lengths[indices], indices


class TranslationDataModule(ZooDataModule):
    """Base of parallel texts: x are the tokens of a source, y those of its translation, each with its end (1).

    Tokens are those of a byte-pair encoding that has seen the training split alone and travels in the checkpoint. Of a
    training pair that is too long nothing is read, and how many there are is said; evaluation leaves out nothing.

    Args:
        batch_size: training pairs in a step of one process.
        vocabulary_size: tokens of an encoding; 4,000 to 10,000 for tens of thousands of pairs, 32,000 for millions.
        shared: one encoding for both languages, or one for each.
        longest: most tokens of a source, and of a target, in training.
        pool: batches whose pairs are sorted by length before they are cut into batches; see LengthBuckets.
        eval_batch_size, drop_last: see ZooDataModule.
    """

    def __init__(
        self,
        batch_size: int = 64,
        vocabulary_size: int = 8000,
        shared: bool = True,
        longest: int = 128,
        pool: int = 50,
        eval_batch_size: int = 128,
        drop_last: bool = False,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, drop_last)
        check_size(vocabulary_size)
        for name, value in (("longest", longest), ("pool", pool)):
            if value < 1:
                raise DataError(f"{name} must be at least 1, got {value}")
        self._rows, self._vocabulary_size = batch_size, vocabulary_size
        self.shared, self.longest, self.pool = shared, longest, pool

    # Facts ----------------------------------------------------------------------------------------------------------

    @property
    def vocabulary_size(self) -> int:
        """Tokens of targets: as many as were asked for, whether or not the texts have so many."""
        return self._vocabulary_size

    @property
    def source_vocabulary_size(self) -> int | None:
        """Tokens of sources; None where they are those of targets."""
        return None if self.shared else self._vocabulary_size

    @property
    def train_targets(self) -> Tensor:
        """All tokens of the training targets, int64 (N,)."""
        return self._split("train").targets.values

    # Texts ----------------------------------------------------------------------------------------------------------

    @abstractmethod
    def read(self, split: str) -> Pairs:
        """The texts of "train", "val" or "test"."""

    @cached_property
    def texts(self) -> dict[str, Pairs]:
        """The texts of all splits, in their order."""
        return {name: self.read(name) for name in ("train", "val", "test")}

    @cached_property
    def vocabulary(self) -> BPE:
        """The encoding of targets."""
        train = self.texts["train"]
        return BPE.trained_on(train.sources + train.targets if self.shared else train.targets, self._vocabulary_size)

    @cached_property
    def source_vocabulary(self) -> BPE:
        """The encoding of sources."""
        if self.shared:
            return self.vocabulary
        return BPE.trained_on(self.texts["train"].sources, self._vocabulary_size)

    def preprocessing(self) -> Preprocessing | None:
        return RawSubwords.of(self.source_vocabulary, None if self.shared else self.vocabulary, ended=True)

    def load(self) -> dict[str, Dataset[Any]]:
        splits: dict[str, Dataset[Any]] = {}
        for name, pairs in self.texts.items():
            sources = [[*text, END] for text in self.source_vocabulary.encode_each(pairs.sources)]
            targets = [[*text, END] for text in self.vocabulary.encode_each(pairs.targets)]
            if name == "train":
                kept = [i for i in range(len(sources)) if max(len(sources[i]), len(targets[i])) <= self.longest]
                if len(kept) < len(sources):
                    left_out = f"{len(sources) - len(kept):,} of {len(sources):,} pairs"
                    notice(f"{type(self).__name__} train: {left_out}, longer than {self.longest} tokens, are left out")
                sources, targets = [sources[i] for i in kept], [targets[i] for i in kept]
            splits[name] = PairSplit(Ragged(sources), Ragged(targets))
        return splits

    def _split(self, name: str) -> PairSplit:
        split = self.splits[name]
        assert isinstance(split, PairSplit)
        return split

    # Loaders and checkpoints ----------------------------------------------------------------------------------------

    def train_order(self) -> LengthBuckets:
        split, (rank, world_size) = self._split("train"), self._place()
        lengths = split.sources.lengths + split.targets.lengths
        return LengthBuckets(lengths, self._rows, self.pool, self.drop_last, rank, world_size)

    def state_dict(self) -> dict[str, Any]:
        """Adds what the tokens mean."""
        source = None if self.shared else self.source_vocabulary.state
        return {**super().state_dict(), "vocabulary": self.vocabulary.state, "source_vocabulary": source}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Number tokens as the network was trained."""
        super().load_state_dict(state)
        own = (self.vocabulary.state, None if self.shared else self.source_vocabulary.state)
        if own == (state["vocabulary"], state["source_vocabulary"]):
            return
        self.vocabulary, self.shared = BPE(state["vocabulary"]), state["source_vocabulary"] is None
        self.source_vocabulary = self.vocabulary if self.shared else BPE(state["source_vocabulary"])
        if self.splits:  # they were numbered before the checkpoint was read
            self.splits = self.load()
