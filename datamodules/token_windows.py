"""Windows of one long text of tokens: at random for training, one behind the other for evaluation, or as streams."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.order import BatchOrder
from zoo.randomness import key


class TokenSplit(Dataset[Any]):
    """Stretches of a text, indexed by where they start: ``split[starts] -> (x (B, T), y (B, T), starts)``.

    y is the next token of each token of x. T is ``window``, or what is left of the streams that ``starts`` lie in.

    Args:
        tokens: int64 (N,).
        window: tokens of a full stretch.
        stream_length: tokens of x in one stream; streams lie end to end.
    """

    def __init__(self, tokens: Tensor, window: int, stream_length: int) -> None:
        self.tokens, self.window, self.stream_length = tokens, window, stream_length

    def __len__(self) -> int:
        return (len(self.tokens) - 1) // self.window

    def __getitem__(self, starts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        steps = min(self.window, self.stream_length - int(starts[0]) % self.stream_length)
        stretches = self.tokens.unfold(0, steps, 1)  # (N - steps + 1, steps), a view
        return stretches.index_select(0, starts), stretches.index_select(0, starts + 1), starts


class WindowOrder(BatchOrder):
    """Starts of windows that do not overlap; in training in random order, on a grid that is shifted each epoch.

    So every token comes once an epoch, but for fewer than two windows' worth at the two ends, and every position begins
    a window now and then: a function of (seed, epoch).

    Args:
        tokens: length of the text; at least ``window + 1``.
        window: tokens of a window.
        batch_size, shuffle, drop_last, rank, world_size: see BatchOrder.
    """

    def __init__(
        self,
        tokens: int,
        window: int,
        batch_size: int,
        shuffle: bool,
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        # With one window less than fit, every shift of the grid has as many.
        size = max(1, (tokens - window) // window) if shuffle else (tokens - 1) // window
        super().__init__(size, batch_size, shuffle, drop_last, rank, world_size)
        self.window = window
        self.shifts = tokens - size * window

    def arrange(self) -> Tensor:
        shift = key(self.seed, "shift", self.epoch) % self.shifts if self.shuffle else 0
        return super().arrange() * self.window + shift

    def facts(self) -> dict[str, int]:
        return {**super().facts(), "window": self.window, "stream_length": 0}


class StreamOrder(BatchOrder):
    """Starts for truncated back-propagation through time: row b of batch k goes on where row b of batch k - 1 ended.

    The text is cut into as many streams of one length as all ranks have rows; a stream stays with its row and rank, and
    an epoch reads each from its beginning to its end. The remainder, less than a token for each stream, is left out.

    Args:
        tokens: length of the text; at least one more than there are streams.
        window: tokens of a batch's row; the last batch has what is left.
        batch_size: rows of one process.
        drop_last: leave out a last batch of fewer tokens.
        rank, world_size: see BatchOrder.
    """

    def __init__(
        self, tokens: int, window: int, batch_size: int, drop_last: bool = False, rank: int = 0, world_size: int = 1
    ) -> None:
        self.streams = batch_size * world_size
        self.stream_length = (tokens - 1) // self.streams
        steps = self.stream_length // window if drop_last else -(-self.stream_length // window)
        super().__init__(steps * self.streams, batch_size, False, False, rank, world_size)
        self.window = window

    def arrange(self) -> Tensor:
        step = torch.arange(self.size // self.streams)[:, None] * self.window  # (steps, 1)
        # Rank r takes every world_size-th of a step's streams, from the r-th on.
        return (step + torch.arange(self.streams) * self.stream_length).flatten()

    def facts(self) -> dict[str, int]:
        return {**super().facts(), "window": self.window, "stream_length": self.stream_length}
