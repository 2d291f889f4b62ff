"""Keys and values of the steps that were read, so that generating a token reads one step and not all."""

from torch import Tensor


class KVCache:
    """What one attention layer keeps: keys and values of the steps so far, each (B, heads, T, head_width).

    Args:
        capacity: most steps; room for all of them is taken at the first. None is as many as come first.
    """

    def __init__(self, capacity: int | None = None) -> None:
        self.capacity, self.steps = capacity, 0
        self._keys: Tensor | None = None
        self._values: Tensor | None = None

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keep the keys and values of the next steps; those of all steps come back."""
        if self._keys is None or self._values is None:
            self._keys = self._room(keys)
            self._values = self._room(values)
        first, self.steps = self.steps, self.steps + keys.shape[2]
        self._keys[:, :, first : self.steps] = keys
        self._values[:, :, first : self.steps] = values
        return self.read()

    def read(self) -> tuple[Tensor, Tensor]:
        """The keys and values of all steps so far; there has to be one."""
        assert self._keys is not None
        assert self._values is not None
        return self._keys[:, :, : self.steps], self._values[:, :, : self.steps]

    def select(self, rows: Tensor) -> None:
        """Go on with these rows, int64 (B',): what a beam search keeps."""
        if self.steps:
            keys, values = (kept[rows] for kept in self.read())  # not the room behind them
            self._keys, self._values = self._room(keys), self._room(values)
            self._keys[:, :, : self.steps], self._values[:, :, : self.steps] = keys, values

    def _room(self, like: Tensor) -> Tensor:
        rows, heads, steps, width = like.shape
        return like.new_empty(rows, heads, steps if self.capacity is None else self.capacity, width)


class BlockCache:
    """What one block keeps: the steps of its own sequence, and those of a memory, which it reads once.

    Args:
        capacity: most steps of its own sequence.
    """

    def __init__(self, capacity: int) -> None:
        self.own, self.memory = KVCache(capacity), KVCache()

    @property
    def steps(self) -> int:
        """Steps of its own sequence so far."""
        return self.own.steps
