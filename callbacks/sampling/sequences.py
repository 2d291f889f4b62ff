"""What the techniques that change the length of sequences share: who carries a state, and a shorter batch."""

from typing import Protocol, runtime_checkable

from torch import Tensor

from zoo.batch import Batch


@runtime_checkable
class CarriesState(Protocol):
    """A module that may go on, in each batch, from where the one before ended."""

    stateful: bool


def first_steps(batch: Batch, steps: int) -> Batch:
    """The first ``steps`` of each sequence; targets of steps are cut as well, and lengths are at most ``steps``.

    Args:
        batch: x (B, T, C) or tokens (B, T); y of whole sequences, or int64 (B, T) of steps.
        steps: in 1..T.
    """
    y = batch.y
    if isinstance(y, Tensor) and y.ndim == 2 and not y.is_floating_point() and y.shape == batch.x.shape[:2]:
        y = y[:, :steps]
    lengths = None if batch.lengths is None else batch.lengths.clamp(max=steps)
    return batch._replace(x=batch.x[:, :steps], y=y, lengths=lengths)
