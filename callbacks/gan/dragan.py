"""DRAGAN: slope 1 in the neighbourhood of real samples, for logistic losses."""

import math

import torch
from torch import Tensor

from callbacks.gan.gradient_penalty import unit_slope
from callbacks.gan.slopes import SlopePenalty, slopes
from zoo.errors import ZooError
from zoo.gan import GAN
from zoo.play import Play


class DRAGAN(SlopePenalty):
    """weight * mean (|dD(x + e)/dx| - 1)^2 with e ~ N(0, (noise std(x))^2), std over all numbers of the batch.

    Sharp slopes round real samples are what its authors blame for collapse. Kodali et al., "On convergence and
    stability of GANs", 2017.

    Args:
        weight: lambda; 10 in the paper.
        noise: size of the neighbourhood, as a part of the data's standard deviation; 0.1 to 0.5.
        final_weight: the weight changes to this on a straight line; None keeps it.
        share: part of the run over which it changes, in (0, 1].
        interval: act in every so many steps, with a factor of the same size.
    """

    def __init__(
        self,
        weight: float = 10.0,
        noise: float = 0.5,
        final_weight: float | None = None,
        share: float = 1.0,
        interval: int = 1,
    ) -> None:
        super().__init__(weight, final_weight, share, interval)
        if not 0 < noise < math.inf:
            raise ZooError(f"DRAGAN: noise must be positive and finite, got {noise}; 0.5 is usual")
        self.noise = noise

    def penalty(self, module: GAN, play: Play) -> Tensor:
        real = play.real.detach()
        near = real + self.noise * real.std() * torch.randn_like(real)
        return unit_slope(slopes(module, near, play.y))
