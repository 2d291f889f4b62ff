"""Samples from a trained generator: latent noise, cut off at its tails when samples shall be typical, and labels."""

import math

import torch
from torch import Tensor

from zoo.errors import ZooError
from zoo.generators.base import Generator
from zoo.randomness import key


def truncated_normal(size: tuple[int, ...], bound: float | None, generator: torch.Generator) -> Tensor:
    """Draws from N(0, 1) on the condition that they lie within ``bound``, by inversion: no draw is thrown away.

    z = sqrt(2) erfinv(u erf(bound / sqrt(2))) with u ~ U(-1, 1). The truncation trick: Brock et al., "Large scale GAN
    training for high fidelity natural image synthesis", 2019, section 3.1.

    Args:
        size: shape of the result.
        bound: positive; towards 0 all samples become the most typical one; None for no bound.
        generator: source of the numbers, on the CPU, so that a seed means the same on every device.

    Raises:
        ZooError: a bound that is not positive.
    """
    if bound is None:
        return torch.randn(size, generator=generator)
    if not bound > 0:
        raise ZooError(f"truncation must be positive, got {bound}; 0.5 to 2 are usual")
    u = 2 * torch.rand(size, generator=generator, dtype=torch.double) - 1
    return (math.sqrt(2) * torch.erfinv(u * math.erf(bound / math.sqrt(2)))).clamp(-bound, bound).float()


def balanced_labels(generator: Generator, num: int, labels: Tensor | None) -> Tensor | None:
    """Labels to sample with, int64 (num,): as given, or all classes in turn; None without conditioning.

    Raises:
        ZooError: labels for a generator that takes none, or labels out of range.
    """
    classes = generator.num_classes
    if not classes:
        if labels is not None:
            raise ZooError("this generator was trained without labels, so that none can be asked for")
        return None
    if labels is None:
        return torch.arange(num) % classes
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise ZooError(f"label {int(wrong[0])} is outside 0..{classes - 1}")
    return labels


@torch.no_grad()
def draw_samples(
    generator: Generator, num: int, labels: Tensor | None, truncation: float | None, seed: int, batch_size: int
) -> Tensor:
    """Samples (num, *sample_shape) on the CPU, a function of weights and arguments; see ``GAN.sample``."""
    if num < 1:
        raise ZooError(f"num must be at least 1, got {num}")
    labels = balanced_labels(generator, num, labels)
    device = next(generator.parameters()).device
    z = truncated_normal((num, generator.latent_dim), truncation, torch.Generator().manual_seed(key(seed, "samples")))
    was_training = generator.training
    generator.eval()
    try:
        samples = []
        for start in range(0, num, batch_size):
            part = slice(start, start + batch_size)
            y = None if labels is None else labels[part].to(device)
            samples.append(generator(z[part].to(device), y).float().cpu())
    finally:
        generator.train(was_training)
    return torch.cat(samples)
