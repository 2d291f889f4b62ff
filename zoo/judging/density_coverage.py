"""Density and coverage: how thick samples lie where the data are, and how many of the data have samples near them."""

import torch
from torch import Tensor

from zoo.judging.neighbours import BLOCK, distance_blocks, neighbour_radii


def density_coverage(real: Tensor, fake: Tensor, k: int = 5, block: int = BLOCK) -> tuple[float, float]:
    """(density, coverage) of made features (M, D) against real ones (N, D).

    Each real point has a ball that reaches to its k-th neighbour. Density is the number of balls that a made point
    lies in, over k: 1 where made and real are alike, more where samples crowd in the middle. Coverage is the share of
    the balls with a made point in them; 1 - 2^-k is expected for as many samples of the true distribution.

    Naeem et al., "Reliable fidelity and diversity metrics for generative models", 2020, section 3.

    Args:
        k: neighbours, fewer than N; 5 in the paper.
    """
    radii = neighbour_radii(real, k, block)
    inside, covered = 0, torch.zeros(len(real), dtype=torch.bool, device=real.device)
    for _, distances in distance_blocks(fake, real, block):  # (rows of fake, N)
        within = distances < radii
        inside += int(within.sum())
        covered |= within.any(0)
    return inside / (k * len(fake)), covered.double().mean().item()
