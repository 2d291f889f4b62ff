"""Texts as sequences of characters, to predict each from those before it."""

import hashlib
from abc import abstractmethod
from functools import cached_property
from typing import Any, Literal

from torch import Tensor
from torch.utils.data import Dataset

from datamodules.base import ZooDataModule
from datamodules.order import BatchLoader, BatchOrder
from datamodules.raw_text import RawText
from datamodules.token_windows import StreamOrder, TokenSplit, WindowOrder
from datamodules.vocabulary import Vocabulary
from zoo.errors import DataError
from zoo.notice import notice
from zoo.preprocessing import Preprocessing


class CharacterDataModule(ZooDataModule):
    """Base of texts: a batch is x, int64 (B, T), and y, the character behind each of x.

    The text is split by position: first train, then val, then test, each of the latter half of ``val_fraction``. The
    vocabulary is that of the training part.

    Args:
        batch_size: windows, or streams, in a step of one process.
        window: characters in a row of a batch.
        mode: "shuffle" draws windows anew each epoch, see WindowOrder; "streams" has row b of a batch go on where row b
            of the batch before ended, for truncated back-propagation, in training and in evaluation, see StreamOrder.
        val_fraction: share of the text behind the training part.
        unknown_token: a token for characters that the training part has not; without it they are an error.
        eval_batch_size: windows in a batch of evaluation; fewer streams where they would be shorter than a window.
        drop_last: see ZooDataModule; in streams, leave out the last batch of an epoch if it has fewer characters.
    """

    def __init__(
        self,
        batch_size: int = 64,
        window: int = 128,
        mode: Literal["shuffle", "streams"] = "shuffle",
        val_fraction: float = 0.1,
        unknown_token: bool = False,
        eval_batch_size: int = 64,
        drop_last: bool = False,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, drop_last)
        if window < 1:
            raise DataError(f"window must be at least 1, got {window}")
        if not 0 < val_fraction < 1:
            raise DataError(f"val_fraction must lie in (0, 1), got {val_fraction}")
        self._rows, self._window, self.mode = batch_size, window, mode
        self.val_fraction, self.unknown_token = val_fraction, unknown_token

    @property
    def window(self) -> int:
        return self._window

    @property
    def vocabulary_size(self) -> int:
        return len(self.vocabulary)

    @property
    def train_targets(self) -> Tensor:
        """All tokens of the training part, int64 (N,)."""
        return self._tokens("train")

    @abstractmethod
    def read(self) -> tuple[str, str]:
        """The text, and in words where it comes from."""

    @cached_property
    def text(self) -> str:
        """The whole text."""
        text, source = self.read()
        notice(f"{type(self).__name__}: {len(text):,} characters of {source}, sha256 {_sha256(text)[:12]}")
        return text

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The characters of the training part."""
        first, last = self.part("train")
        return Vocabulary(self.text[first:last], self.unknown_token)

    def preprocessing(self) -> Preprocessing | None:
        return RawText.of(self.vocabulary)

    @property
    def fingerprint(self) -> str:
        """The sha256 of the text, which may be another on another machine."""
        return _sha256(self.text)

    def part(self, split: str) -> tuple[int, int]:
        """First character of a split, and the one behind its last."""
        size = len(self.text)
        train = round((1 - self.val_fraction) * size)
        val = train + (size - train) // 2
        return {"train": (0, train), "val": (train, val), "test": (val, size)}[split]

    def load(self) -> dict[str, Dataset[Any]]:
        splits: dict[str, Dataset[Any]] = {}
        tokens = self.vocabulary.encode(self.text, type(self).__name__)
        _, world_size = self._place()
        for name in ("train", "val", "test"):
            first, last = self.part(name)
            # Each training process has all its rows; evaluation does with fewer if the streams got too short.
            rows = self._rows * world_size if name == "train" and self.mode == "streams" else 1
            if last - first < rows * self.window + 1:
                raise DataError(
                    f"{type(self).__name__} {name}: {last - first:,} characters are too few for {rows} times"
                    f" {self.window} and the one behind; lower --data.window or --data.batch_size"
                )
            order = self._order(name, last - first)
            length = order.stream_length if isinstance(order, StreamOrder) else last - first - 1
            splits[name] = TokenSplit(tokens[first:last], self.window, length)
        return splits

    def train_order(self) -> BatchOrder:
        return self._order("train", len(self._tokens("train")))

    def _eval_loader(self, name: str) -> BatchLoader:
        return self._loader(name, self._order(name, len(self._tokens(name))))

    def _order(self, name: str, size: int) -> BatchOrder:
        rank, world_size = self._place()
        train = name == "train"
        if self.mode == "shuffle":
            rows = self._rows if train else self.eval_batch_size
            return WindowOrder(size, self.window, rows, train, train and self.drop_last, rank, world_size)
        longest = max(1, (size - 1) // (self.window * world_size))  # streams that are no shorter than a window
        rows = self._rows if train else min(self.eval_batch_size, longest)
        return StreamOrder(size, self.window, rows, train and self.drop_last, rank, world_size)

    def _tokens(self, name: str) -> Tensor:
        split = self.splits[name]
        assert isinstance(split, TokenSplit)
        return split.tokens

    def state_dict(self) -> dict[str, Any]:
        """Adds what the tokens mean, and which text they are of."""
        known = {"characters": self.vocabulary.characters, "unknown_token": self.unknown_token}
        return {**super().state_dict(), **known, "text_sha256": _sha256(self.text)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Number characters as the network was trained."""
        super().load_state_dict(state)
        if state["text_sha256"] != _sha256(self.text):
            notice(f"{type(self).__name__}: the checkpoint is of another text, sha256 {state['text_sha256'][:12]}")
        self.unknown_token = state["unknown_token"]
        self.vocabulary = Vocabulary(state["characters"], self.unknown_token)
        if self.splits:  # they were numbered before the checkpoint was read
            self.splits = self.load()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
