"""Points round eight places on a circle: the smallest case in which a GAN can lose what it should have learnt."""

import math
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.base import TensorSplit, ZooDataModule
from zoo.errors import DataError
from zoo.randomness import key


class Ring(ZooDataModule):
    """A mixture of Gaussians whose means lie evenly on a circle; the label of a point is its Gaussian.

    As in Metz et al., "Unrolled generative adversarial networks", 2017, section 3.1.

    Args:
        modes: how many Gaussians.
        radius: of the circle.
        std: standard deviation of each Gaussian in both directions.
        size: training points; validation and test have a quarter of it each.
        batch_size, eval_batch_size, drop_last, num_workers: see ZooDataModule.
    """

    def __init__(
        self,
        modes: int = 8,
        radius: float = 2.0,
        std: float = 0.02,
        size: int = 25_600,
        batch_size: int | Literal["full"] = 256,
        eval_batch_size: int = 512,
        drop_last: bool = False,
        num_workers: int = 0,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, drop_last, num_workers)
        if modes < 1 or size < 4 or not (radius > 0 and std > 0):
            raise DataError(
                f"Ring: modes, radius, std and size (from 4) are positive, got {modes}, {radius}, {std}, {size}"
            )
        self.modes, self.radius, self.std, self.size = modes, radius, std, size

    @property
    def in_features(self) -> int:
        return 2

    @property
    def num_classes(self) -> int:
        return self.modes

    def load(self) -> dict[str, Dataset[Any]]:
        sizes = {"train": self.size, "val": self.size // 4, "test": self.size // 4}
        return {name: self._draw(size, name) for name, size in sizes.items()}

    def _draw(self, size: int, name: str) -> TensorSplit:
        # A data set, not a choice of the run: the points are the same whatever the seed.
        noise = torch.randn(size, 2, generator=torch.Generator().manual_seed(key("ring", name)))
        y = torch.arange(size) % self.modes
        return TensorSplit(mode_centres(self.modes, self.radius)[y] + self.std * noise, y)


def mode_centres(modes: int, radius: float) -> Tensor:
    """Means of the Gaussians, (modes, 2)."""
    angles = torch.arange(modes) * (2 * math.pi / modes)
    return radius * torch.stack([angles.cos(), angles.sin()], 1)


def good_samples(points: Tensor, centres: Tensor, std: float) -> Tensor:
    """For each point (N, 2) the mode that it lies within 3 standard deviations of, or -1; int64 (N,).

    Of real points 1 - exp(-9 / 2) = 98.9 % are good: the length of a normal vector in the plane is Rayleigh.
    """
    distance, mode = torch.cdist(points, centres).min(1)
    return torch.where(distance <= 3 * std, mode, -1)


def good_fraction(points: Tensor, centres: Tensor, std: float) -> float:
    """Share of the points (N, 2) that lie within 3 standard deviations of a mode."""
    return (good_samples(points, centres, std) >= 0).float().mean().item()


def covered_modes(points: Tensor, centres: Tensor, std: float, share: float = 0.25) -> int:
    """How many modes have at least ``share`` of the good points that an even spread over all modes gives them."""
    mode = good_samples(points, centres, std)
    counts = torch.bincount(mode[mode >= 0], minlength=len(centres))
    return int((counts >= share * len(points) / len(centres)).sum())
