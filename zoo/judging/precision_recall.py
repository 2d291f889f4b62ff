"""Precision and recall of samples: are they like the data, and are the data like them."""

import torch
from torch import Tensor

from zoo.judging.neighbours import BLOCK, distance_blocks, neighbour_radii


def precision_recall(real: Tensor, fake: Tensor, k: int = 3, block: int = BLOCK) -> tuple[float, float]:
    """(precision, recall) of made features (M, D) against real ones (N, D), each in [0, 1].

    A set is where the balls are that reach from each of its points to its k-th neighbour. Precision is the share of
    the made points within the real set, recall the share of the real points within the made one. One real outlier
    makes a huge ball, so that precision flatters; ``density_coverage`` is not fooled by it.

    Kynkäänniemi et al., "Improved precision and recall metric for assessing generative models", 2019, section 2.

    Args:
        k: neighbours, fewer than N and M; 3 in the paper.
    """
    real_radii, fake_radii = neighbour_radii(real, k, block), neighbour_radii(fake, k, block)
    precise, recalled = 0, torch.zeros(len(real), dtype=torch.bool, device=real.device)
    for rows, distances in distance_blocks(fake, real, block):  # (rows of fake, N)
        precise += int((distances <= real_radii).any(1).sum())
        recalled |= (distances <= fake_radii[rows, None]).any(0)
    return precise / len(fake), recalled.double().mean().item()
