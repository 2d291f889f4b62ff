"""Nearest neighbours among features, a block of rows at a time, so that no matrix of all pairs is ever held."""

from collections.abc import Iterator

import torch
from torch import Tensor

from zoo.errors import ZooError

BLOCK = 128  # rows of such a matrix: larger ones leave the cache and are slower


def distance_blocks(x: Tensor, y: Tensor, block: int = BLOCK) -> Iterator[tuple[slice, Tensor]]:
    """Rows of x (N, D) with their Euclidean distances to all of y (M, D), float64 (at most ``block``, M).

    |x|^2 - 2 x . y + |y|^2 is a matrix product; in float64, and round the mean of y, it loses no digit that matters.
    """
    centre = y.double().mean(0)
    x, y = x.double() - centre, y.double() - centre
    length = y.square().sum(1)
    for start in range(0, len(x), block):
        rows = x[start : start + block]
        squares = torch.addmm(length[None], rows, y.mT, alpha=-2).add_(rows.square().sum(1, keepdim=True))
        yield slice(start, start + len(rows)), squares.clamp_(min=0).sqrt_()


def neighbour_radii(x: Tensor, k: int, block: int = BLOCK) -> Tensor:
    """Distance of each of x (N, D) to its k-th nearest other one, float64 (N,).

    Raises:
        ZooError: there are no k others.
    """
    if len(x) <= k:
        raise ZooError(f"{len(x)} samples have no {k} neighbours each; judge more samples")
    radii = torch.empty(len(x), dtype=torch.float64, device=x.device)
    for rows, distances in distance_blocks(x, x, block):
        places = torch.arange(rows.start, rows.stop, device=x.device)
        distances[torch.arange(len(places), device=x.device), places] = torch.inf  # not its own neighbour
        radii[rows] = distances.kthvalue(k, 1).values
    return radii


def nearest(x: Tensor, y: Tensor, block: int = BLOCK) -> Tensor:
    """For each of x (N, D) the place of the nearest of y (M, D), int64 (N,)."""
    return torch.cat([distances.argmin(1) for _, distances in distance_blocks(x, y, block)])
