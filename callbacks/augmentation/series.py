"""What the augmentations of sequences share: which steps are real, and values between the steps."""

import torch
from torch import Tensor

from callbacks.technique import UnsupportedModule
from zoo.batch import Batch


def require_series(name: str, batch: Batch) -> Tensor:
    """The inputs of a batch; raises UnsupportedModule unless they are floats (B, T, C)."""
    x = batch.x
    if not isinstance(x, Tensor) or x.ndim != 3 or not x.is_floating_point():
        kind = f"{x.dtype} of shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise UnsupportedModule(f"{name} needs sequences of numbers, floats (B, T, C), got {kind}; drop it")
    return x


def is_forecast(batch: Batch) -> bool:
    """Whether the targets continue the first channels of the inputs: floats (B, horizon, num_targets)."""
    return isinstance(batch.y, Tensor) and batch.y.ndim == 3 and batch.y.is_floating_point()


def lengths_of(batch: Batch) -> Tensor:
    """Steps of each sequence, int64 (B,); all T where nothing is padded."""
    if batch.lengths is not None:
        return batch.lengths
    return torch.full((batch.size,), batch.x.shape[1], device=batch.x.device)


def is_valid(steps: int, lengths: Tensor) -> Tensor:
    """Which of ``steps`` steps lie within a sequence, bool (B, steps)."""
    return torch.arange(steps, device=lengths.device) < lengths[:, None]


def resample(x: Tensor, place: Tensor) -> Tensor:
    """Values between the steps, on the straight line from one to the next.

    Args:
        x: floats (B, T, C).
        place: where to read, float (B, S), in [0, T - 1].

    Returns:
        (B, S, C).
    """
    low = place.floor().long().clamp(max=max(x.shape[1] - 2, 0))
    high = (low + 1).clamp(max=x.shape[1] - 1)
    share = (place - low).unsqueeze(2).to(x.dtype)
    return torch.lerp(_at(x, low), _at(x, high), share)


def resample_batch(batch: Batch, place: Tensor, lengths: Tensor) -> Batch:
    """The batch read at other places; what lies behind the new ends is zero, and tags are those of the nearest step.

    Args:
        batch: x floats (B, T, C); y classes or values of whole sequences, or int64 tags (B, T), -100 where padded.
        place: float (B, S), where to read each new step; the first ``lengths`` count.
        lengths: int64 (B,), new steps of each sequence.
    """
    valid = is_valid(place.shape[1], lengths)
    place = place.where(valid, 0)
    x = resample(batch.x, place).masked_fill(~valid.unsqueeze(2), 0)
    y = batch.y
    if isinstance(y, Tensor) and y.shape == batch.x.shape[:2]:
        y = y.gather(1, place.round().long()).masked_fill(~valid, -100)
    return batch._replace(x=x, y=y)


def _at(x: Tensor, step: Tensor) -> Tensor:
    return x.gather(1, step.unsqueeze(2).expand(-1, -1, x.shape[2]))
