"""Texts as sequences of tokens, to predict each from those before it; what a token is, a subclass says."""

import hashlib
from abc import abstractmethod
from functools import cached_property
from typing import Any, Literal

from torch import Tensor
from torch.utils.data import Dataset

from datamodules.base import ZooDataModule
from datamodules.order import BatchLoader, BatchOrder
from datamodules.token_windows import StreamOrder, TokenSplit, WindowOrder
from zoo.errors import DataError
from zoo.notice import notice


class TextDataModule(ZooDataModule):
    """Base of texts: a batch is x, int64 (B, T), and y, the token behind each of x.

    The text is split by position: first train, then val, then test, each of the latter half of ``val_fraction``.

    Args:
        batch_size: windows, or streams, in a step of one process.
        window: tokens in a row of a batch.
        mode: "shuffle" draws windows anew each epoch, see WindowOrder; "streams" has row b of a batch go on where row b
            of the batch before ended, for truncated back-propagation, in training and in evaluation, see StreamOrder.
        val_fraction: share of the text behind the training part.
        eval_batch_size: windows in a batch of evaluation; fewer streams where they would be shorter than a window.
        drop_last: see ZooDataModule; in streams, leave out the last batch of an epoch if it has fewer tokens.

    Attributes:
        unit: what a token is called.
    """

    unit = "tokens"

    def __init__(
        self,
        batch_size: int = 64,
        window: int = 128,
        mode: Literal["shuffle", "streams"] = "shuffle",
        val_fraction: float = 0.1,
        eval_batch_size: int = 64,
        drop_last: bool = False,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, drop_last)
        if window < 1:
            raise DataError(f"window must be at least 1, got {window}")
        if not 0 < val_fraction < 1:
            raise DataError(f"val_fraction must lie in (0, 1), got {val_fraction}")
        self._rows, self._window, self.mode = batch_size, window, mode
        self.val_fraction = val_fraction

    @property
    def window(self) -> int:
        return self._window

    @property
    def train_targets(self) -> Tensor:
        """All tokens of the training part, int64 (N,)."""
        return self._tokens("train")

    @abstractmethod
    def read(self) -> tuple[str, str]:
        """The text, and in words where it comes from."""

    @abstractmethod
    def numbered(self) -> dict[str, Tensor]:
        """The tokens of each split, int64 (N,)."""

    @cached_property
    def text(self) -> str:
        """The whole text."""
        text, source = self.read()
        notice(f"{type(self).__name__}: {len(text):,} characters of {source}, sha256 {_sha256(text)[:12]}")
        return text

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
        _, world_size = self._place()
        for name, tokens in self.numbered().items():
            # Each training process has all its rows; evaluation does with fewer if the streams got too short.
            rows = self._rows * world_size if name == "train" and self.mode == "streams" else 1
            if len(tokens) < rows * self.window + 1:
                raise DataError(
                    f"{type(self).__name__} {name}: {len(tokens):,} {self.unit} are too few for {rows} times"
                    f" {self.window} and the one behind; lower --data.window or --data.batch_size"
                )
            order = self._order(name, len(tokens))
            length = order.stream_length if isinstance(order, StreamOrder) else len(tokens) - 1
            splits[name] = TokenSplit(tokens, self.window, length)
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
        """Adds which text the tokens are of."""
        return {**super().state_dict(), "text_sha256": self.fingerprint}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Say so where the text is another one; a subclass numbers its tokens as the network was trained."""
        super().load_state_dict(state)
        if state["text_sha256"] != self.fingerprint:
            notice(f"{type(self).__name__}: the checkpoint is of another text, sha256 {state['text_sha256'][:12]}")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
