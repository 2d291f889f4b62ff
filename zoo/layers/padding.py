"""Sequences padded at their ends: which steps are valid, the last of them, and the way back through them."""

import torch
from torch import Tensor

from zoo.errors import DataError


def padding_mask(lengths: Tensor, steps: int) -> Tensor:
    """Which steps are valid: bool (B, T), from lengths (B,)."""
    return torch.arange(steps, device=lengths.device) < lengths[:, None]


def check_lengths(lengths: Tensor, steps: int) -> None:
    """Raise DataError naming the first sequence that has no step, or more than the T steps of its batch."""
    if torch.compiler.is_exporting():
        return  # an exported graph has no place for an error that depends on data
    wrong = ((lengths < 1) | (lengths > steps)).nonzero()
    if len(wrong):
        sample = int(wrong[0, 0])
        raise DataError(
            f"sequence {sample} of the batch has length {int(lengths[sample])}, outside 1..{steps}; leave out empty"
            " sequences, and pad a batch to its longest"
        )


def flip_valid(x: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Reverse the valid steps of each sequence and leave its padding where it is; twice gives x again.

    Args:
        x: (B, T, C), padded at the end.
        lengths: valid steps, (B,); None where nothing is padded.

    Returns:
        (B, T, C).
    """
    if lengths is None:
        return x.flip(1)
    rows, steps, channels = x.shape
    step = torch.arange(steps, device=x.device)
    source = torch.where(step < lengths[:, None], lengths[:, None] - 1 - step, step)  # (B, T)
    source = source + torch.arange(rows, device=x.device)[:, None] * steps
    return x.reshape(rows * steps, channels).index_select(0, source.flatten()).view(rows, steps, channels)


def last_valid(x: Tensor, lengths: Tensor | None = None) -> Tensor:
    """The last valid step of each sequence: (B, T, C) -> (B, C)."""
    if lengths is None:
        return x[:, -1]
    return x.gather(1, (lengths - 1)[:, None, None].expand(-1, 1, x.shape[2]))[:, 0]
