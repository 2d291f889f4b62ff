"""The gradient penalty: slope 1 between real samples and fakes, which makes a critic of a Wasserstein distance."""

import torch
from torch import Tensor

from callbacks.gan.slopes import SlopePenalty, slopes
from zoo.gan import GAN
from zoo.play import Play


def unit_slope(squared: Tensor) -> Tensor:
    """mean (|g| - 1)^2 for squared slopes (B,); the root has no gradient at 0, and a tiny number keeps it finite."""
    return ((squared + 1e-12).sqrt() - 1).square().mean()


def between(real: Tensor, fake: Tensor, share: Tensor) -> Tensor:
    """share * real + (1 - share) * fake, one share (B,) for each pair."""
    return torch.lerp(fake, real, share.view(-1, *[1] * (real.ndim - 1)))


class GradientPenalty(SlopePenalty):
    """weight * mean (|dD(x)/dx| - 1)^2 at points drawn uniformly between a real sample and a fake.

    Gulrajani et al., "Improved training of Wasserstein GANs", 2017, eq. 3. Made for the Wasserstein loss with clip 0.

    Args:
        weight: lambda; 10 in the paper, 0.1 to 1 for data of few dimensions.
        final_weight: it changes to this on a straight line; None keeps it.
        share: part of the run over which it changes, in (0, 1].
        interval: act in every so many steps, with a factor of the same size.
    """

    def __init__(
        self, weight: float = 10.0, final_weight: float | None = None, share: float = 1.0, interval: int = 1
    ) -> None:
        super().__init__(weight, final_weight, share, interval)

    def penalty(self, module: GAN, play: Play) -> Tensor:
        share = torch.rand(len(play.real), device=play.real.device)
        return unit_slope(slopes(module, between(play.real, play.fake, share).detach(), play.y))
