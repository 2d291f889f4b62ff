"""The step of a running mean, for weights and for buffers that hold infinities, as masks and open bins do."""

import torch
from torch import Tensor, nn


def has_infinite_buffers(module: nn.Module) -> bool:
    """Whether a mean of the module's buffers needs care; waits for the device, so ask once a run."""
    return any(buffer.is_floating_point() and bool(buffer.isinf().any()) for buffer in module.buffers())


@torch.no_grad()
def move_towards_(averaged: list[Tensor], current: list[Tensor], share: float, infinities: bool = False) -> None:
    """m <- m + share (w - m), in place; counters, such as batches that a norm has seen, are taken over.

    Args:
        averaged, current: tensors of one type, m and w.
        share: in [0, 1].
        infinities: where the formula has no value, as between two equal infinite ends, m <- w.
    """
    if not averaged[0].is_floating_point():
        torch._foreach_copy_(averaged, current)
        return
    torch._foreach_lerp_(averaged, current, share)
    if infinities:
        for mean, value in zip(averaged, current, strict=True):
            torch.where(mean.isnan(), value, mean, out=mean)
