"""Every random choice of a run as a function of where it is made, never of what was drawn before.

A run that was stopped goes on as if it never had been, and the number of workers or processes does not change
what a sample looks like, because nothing here carries state: the permutation is a function of (seed, epoch), the
augmentation of a sample of (seed, epoch, index), and dropout, latent noise and the like of (seed, epoch, batch, rank).

This module is a leaf: it may be imported from every package of the project.
"""

import os
import random

import numpy as np
import torch
from torch import Tensor

_MASK64 = (1 << 64) - 1
# The constants of SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
_GAMMA = 0x9E3779B97F4A7C15
_MIX1 = 0xBF58476D1CE4E5B9
_MIX2 = 0x94D049BB133111EB


def run_seed() -> int:
    """The seed of this run: what ``seed_everything`` was given, or 0 when nobody called it."""
    return int(os.environ.get("PL_GLOBAL_SEED", "0"))


def key(*parts: int | str) -> int:
    """Hash integers and names into one 64-bit number, equal on every machine and in every process.

    >>> key(0, 1) != key(1, 0)
    True
    """
    state = 0
    for part in parts:
        words = part.encode() if isinstance(part, str) else [part & _MASK64]
        for word in words:
            state = _splitmix((state + word) & _MASK64)
    return state


def permutation(size: int, *parts: int | str) -> Tensor:
    """A permutation of ``range(size)``, int64 of shape (size,), that is a function of ``parts`` alone."""
    return torch.randperm(size, generator=torch.Generator().manual_seed(key(*parts)))


def uniform(index: Tensor, draws: int, *parts: int | str) -> Tensor:
    """Independent draws from U[0, 1) for each sample, made on the device that holds ``index``.

    Row i depends on ``index[i]`` and ``parts`` only: not on the batch it is in, its place there, or the device.

    Args:
        index: int64 of shape (B,), the sample's place in its data set.
        draws: how many numbers each sample gets.
        parts: what else the draw depends on, usually (seed, epoch, name of the use).

    Returns:
        float32 of shape (B, draws).
    """
    start = torch.tensor(_signed(key(*parts)), device=index.device)
    state = _splitmix_tensor(index.long() + start)[:, None]  # (B, 1)
    counter = torch.arange(draws, device=index.device)  # (draws,)
    bits = _splitmix_tensor(state + counter * _signed(_GAMMA))  # (B, draws)
    return _shift_right(bits, 40).float() * 2.0**-24  # the 24 bits that a float32 holds exactly


def seed_step(epoch: int, batch: int, rank: int) -> None:
    """Seed torch, numpy and random for one training batch of one process (about 20 microseconds)."""
    seed = key(run_seed(), "step", epoch, batch, rank)
    # Not torch.manual_seed: until CUDA is initialised it queues a call with a formatted traceback, 0.5 ms a step.
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)  # noqa: NPY002  the legacy generator is what libraries draw from
    random.seed(seed)


def _splitmix(x: int) -> int:
    x = (x + _GAMMA) & _MASK64
    x = ((x ^ (x >> 30)) * _MIX1) & _MASK64
    x = ((x ^ (x >> 27)) * _MIX2) & _MASK64
    return x ^ (x >> 31)


def _splitmix_tensor(x: Tensor) -> Tensor:
    """SplitMix64 on int64: sums and products wrap as they do on unsigned words."""
    x = x + _signed(_GAMMA)
    x = (x ^ _shift_right(x, 30)) * _signed(_MIX1)
    x = (x ^ _shift_right(x, 27)) * _signed(_MIX2)
    return x ^ _shift_right(x, 31)


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical shift; torch shifts signed words arithmetically, so the copied sign bits are masked away."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _signed(word: int) -> int:
    return word - (1 << 64) if word >= 1 << 63 else word
