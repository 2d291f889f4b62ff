"""The Fréchet distance: how far the mean and the covariance of made features lie from those of real ones."""

import torch
from torch import Tensor


def gaussian_distance(mean: Tensor, covariance: Tensor, other_mean: Tensor, other_covariance: Tensor) -> float:
    """Squared 2-Wasserstein distance of two normal distributions::

        |m - n|^2 + tr(C) + tr(D) - 2 tr((C^1/2 D C^1/2)^1/2)

    Dowson and Landau, "The Fréchet distance between multivariate normal distributions", 1982. The root is taken of a
    symmetric matrix by its eigenvalues, so that neither singular covariances nor imaginary parts are a case apart.

    Args:
        mean, other_mean: (D,), float64.
        covariance, other_covariance: (D, D), symmetric and positive semidefinite, float64.

    Returns:
        A number from 0, in squared units of the features.
    """
    values, vectors = torch.linalg.eigh(covariance)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.mT
    product = root @ other_covariance @ root
    overlap = torch.linalg.eigvalsh((product + product.mT) / 2).clamp(min=0).sqrt().sum()
    distance = (mean - other_mean).square().sum() + covariance.trace() + other_covariance.trace() - 2 * overlap
    return max(distance.item(), 0.0)


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """``gaussian_distance`` of the normal distributions that are fitted to real (N, D) and made features (M, D).

    With the features of one particular Inception network this is the FID of Heusel et al., "GANs trained by a two
    time-scale update rule converge to a local Nash equilibrium", 2017. It falls with the number of samples:
    compare only what was measured with as many.
    """
    real, fake = real.double(), fake.double()
    return gaussian_distance(real.mean(0), real.mT.cov(), fake.mean(0), fake.mT.cov())
