"""Keys and values of the steps that were read, so that generating a token reads one step and not all."""

import torch
from torch import Tensor


class KVCache:
    """What one attention layer keeps: keys and values of the steps so far, each (B, heads, T, head_width).

    Args:
        capacity: most steps; room for all of them is taken at the first.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity, self.steps = capacity, 0
        self._keys: Tensor | None = None
        self._values: Tensor | None = None

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keep the keys and values of the next steps; those of all steps come back."""
        if self._keys is None or self._values is None:
            rows, heads, _, width = keys.shape
            self._keys = keys.new_empty(rows, heads, self.capacity, width)
            self._values = torch.empty_like(self._keys)
        first, self.steps = self.steps, self.steps + keys.shape[2]
        self._keys[:, :, first : self.steps] = keys
        self._values[:, :, first : self.steps] = values
        return self._keys[:, :, : self.steps], self._values[:, :, : self.steps]

    def select(self, rows: Tensor) -> None:
        """Go on with these rows, int64 (B',): what a beam search keeps."""
        if self._keys is not None and self._values is not None:
            self._keys, self._values = self._keys[rows], self._values[rows]
