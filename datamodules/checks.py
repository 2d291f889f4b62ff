"""Checks that a data set passes before a network sees it; each error names the split and the first bad sample."""

import torch
from torch import Tensor

from zoo.errors import DataError


def check_inputs(x: Tensor, y: Tensor, where: str) -> None:
    """Raise DataError for inputs and targets that do not pair up, or inputs that are NaN or infinite."""
    if len(x) != len(y):
        raise DataError(f"{where}: {len(x)} inputs but {len(y)} targets")
    if x.is_floating_point():
        wrong = (~torch.isfinite(x)).nonzero()
        if len(wrong):
            sample, *place = wrong[0].tolist()
            raise DataError(
                f"{where}: sample {sample} is {float(x[tuple(wrong[0])])} at {tuple(place)}"
                f" ({len(wrong[:, 0].unique())} such samples in all); remove them or fill the gaps"
            )


def check_shape(x: Tensor, expected: tuple[int, ...], dtype: torch.dtype, where: str) -> None:
    """Raise DataError when one sample of ``x`` has not the expected shape and dtype."""
    if tuple(x.shape[1:]) != expected or x.dtype != dtype:
        raise DataError(
            f"{where}: samples are {x.dtype} of shape {tuple(x.shape[1:])}, expected {dtype} of shape {expected}"
        )


def check_labels(y: Tensor, num_classes: int, where: str) -> None:
    """Raise DataError unless the targets are int64 (N,) in 0..num_classes - 1."""
    if y.dtype != torch.int64 or y.ndim != 1:
        raise DataError(f"{where}: labels are {y.dtype} of shape {tuple(y.shape)}, expected torch.int64 of shape (N,)")
    wrong = ((y < 0) | (y >= num_classes)).nonzero()
    if len(wrong):
        sample = int(wrong[0, 0])
        raise DataError(
            f"{where}: sample {sample} has label {int(y[sample])}, outside 0..{num_classes - 1}"
            f" ({len(wrong)} such labels in all)"
        )


def check_values(y: Tensor, where: str) -> None:
    """Raise DataError unless the targets are finite floats."""
    if not y.is_floating_point():
        raise DataError(f"{where}: targets are {y.dtype}; regression takes floats")
    wrong = (~torch.isfinite(y)).reshape(len(y), -1).any(1).nonzero()
    if len(wrong):
        raise DataError(
            f"{where}: the target of sample {int(wrong[0, 0])} is NaN or infinite"
            f" ({len(wrong)} such samples in all); remove them"
        )


def stratified_split(y: Tensor, fraction: float, order: Tensor) -> tuple[Tensor, Tensor]:
    """Indices (kept, held out): the same share of every class is held out, at least one sample of each.

    Args:
        y: class labels, (N,).
        fraction: share to hold out, in (0, 1).
        order: a permutation of range(N) that decides who is held out.

    Returns:
        Two sorted int64 vectors that part range(N).
    """
    if not 0 < fraction < 1:
        raise DataError(f"val_fraction must lie in (0, 1), got {fraction}")
    held_out = []
    for label in y.unique():
        members = order[y[order] == label]
        if len(members) < 2:
            raise DataError(f"class {int(label)} has a single sample, which cannot be in train and in val")
        held_out.append(members[: min(max(1, round(len(members) * fraction)), len(members) - 1)])
    val = torch.cat(held_out).sort().values
    mask = torch.ones(len(y), dtype=torch.bool)
    mask[val] = False
    return mask.nonzero().flatten(), val
