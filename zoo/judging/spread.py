"""How far samples lie from each other."""

from torch import Tensor

from zoo.judging.neighbours import BLOCK, distance_blocks


def mean_distance(x: Tensor, block: int = BLOCK) -> float:
    """Mean Euclidean distance over all pairs of x (N, D); towards 0 all samples are one."""
    total = sum(distances.sum().item() for _, distances in distance_blocks(x, x, block))
    return total / (len(x) * (len(x) - 1))
