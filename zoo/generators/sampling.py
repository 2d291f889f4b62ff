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
    z = truncated_normal((num, generator.latent_dim), truncation, torch.Generator().manual_seed(key(seed, "samples")))
    return samples_at(generator, z, labels, batch_size)


@torch.no_grad()
def samples_at(generator: Generator, z: Tensor, labels: Tensor | None, batch_size: int = 256) -> Tensor:
    """Samples (N, *sample_shape) on the CPU from latent noise (N, latent_dim) and labels (N,), as in evaluation."""
    device = next(generator.parameters()).device
    was_training = generator.training
    generator.eval()
    try:
        samples = []
        for start in range(0, len(z), batch_size):
            part = slice(start, start + batch_size)
            y = None if labels is None else labels[part].to(device)
            samples.append(generator(z[part].to(device), y).float().cpu())
    finally:
        generator.train(was_training)
    return torch.cat(samples)


def latent_walk(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Points on the great arcs from ``start`` to ``end``, (N, latent_dim) each -> (N, steps, latent_dim)::

        sin((1 - t) w) / sin(w) start + sin(t w) / sin(w) end,  cos w = <start, end> / (|start| |end|)

    Noise of many dimensions lies on a shell, which the straight line between two draws leaves: White, "Sampling
    generative networks", 2016, section 2.1.
    """
    t = torch.linspace(0, 1, steps)[:, None]  # (steps, 1)
    w = torch.arccos(torch.cosine_similarity(start, end, dim=1).clamp(-0.9999, 0.9999))[:, None, None]  # (N, 1, 1)
    return (torch.sin((1 - t) * w) * start[:, None] + torch.sin(t * w) * end[:, None]) / torch.sin(w)
