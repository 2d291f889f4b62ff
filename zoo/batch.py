"""One batch, whatever the data set."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from torch import Tensor

from zoo.errors import DataError

# What ``x`` may be: vectors (B, D), images (B, C, H, W), sequences of numbers (B, T, C), tokens (B, T); images are
# resizable for a network that takes every height and width.
Inputs: TypeAlias = Literal["vectors", "images", "resizable images", "sequences", "tokens"]


class Batch(NamedTuple):
    """Inputs and targets that travel together.

    Attributes:
        x: inputs, first dimension B; usually one tensor.
        y: targets, first dimension B; class indices (B,), soft targets (B, num_classes) or values (B, ...).
        lengths: int64 (B,), valid steps of each padded sequence; None when nothing is padded.
        weight: float (B,), weight of each sample in the loss; None for equal weights.
    """

    x: Any
    y: Any = None
    lengths: Tensor | None = None
    weight: Tensor | None = None

    @property
    def size(self) -> int:
        """Number of samples B."""
        return len(self.x)


def as_batch(batch: Any) -> Batch:
    """Read what a loader yields: a Batch, a tensor of inputs, or a sequence ``(x, y[, lengths[, weight]])``."""
    if isinstance(batch, Batch):
        return batch
    if isinstance(batch, Tensor):
        return Batch(batch)
    if isinstance(batch, Sequence) and 1 <= len(batch) <= len(Batch._fields):
        return Batch(*batch)
    raise DataError(
        f"a loader yielded {type(batch).__name__}; expected a tensor of inputs or (x, y[, lengths[, weight]])"
    )
