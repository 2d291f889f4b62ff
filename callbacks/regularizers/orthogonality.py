"""Orthogonality: ask the rows of each weight to be orthogonal to one another."""

import torch
from torch import Tensor

from callbacks.regularizers.weights import WeightPenalty


def orthogonality_defect(weight: Tensor, unit_length: bool = True) -> Tensor:
    """Squared Frobenius distance of a weight's Gram matrix from the identity::

        |W W^T - I|_F^2                          unit_length, and W has no more rows than columns
        |W^T W - I|_F^2                          unit_length, otherwise
        the same without the diagonal            not unit_length

    Bansal et al., "Can we gain more from orthogonality regularizations in training deep CNNs?", 2018, eq. 1; without
    the diagonal Brock et al., "Large scale GAN training", 2019, eq. 3. More than n vectors in n dimensions cannot
    be orthogonal, so the smaller of the two Gram matrices is taken.

    Args:
        weight: (rows, ...); filters (out, in, height, width) count as (out, in * height * width).
        unit_length: ask for unit length as well; otherwise lengths are free.

    Returns:
        A scalar >= 0.
    """
    matrix = weight.flatten(1)  # (rows, columns)
    short = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    gram = short @ short.T  # (n, n), n the smaller side
    if unit_length:
        return (gram - torch.eye(len(gram), dtype=gram.dtype, device=gram.device)).square().sum()
    return gram.square().sum() - gram.diagonal().square().sum()


class Orthogonality(WeightPenalty):
    """Adds ``strength * sum over weights of |W W^T - I|_F^2`` to the loss, which keeps signals from dying in depth.

    Args:
        strength: 1e-5 to 1e-2; larger values forbid the network to scale its features.
        match: regular expression for names of parameters; empty for all.
        unit_length: ask for rows of length 1 too; false for networks with norms, which ignore the length.
    """

    def __init__(self, strength: float = 1e-4, match: str = "", unit_length: bool = True) -> None:
        super().__init__(strength, match, vectors=False)
        self.unit_length = unit_length

    def measure(self, weights: list[Tensor]) -> Tensor:
        return torch.stack([orthogonality_defect(weight, self.unit_length) for weight in weights]).sum()
