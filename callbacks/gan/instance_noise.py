"""Instance noise: blur what the discriminator sees until real and fake overlap, less and less as the run goes on."""

import torch
from torch import Tensor

from callbacks.gan.game_technique import GameTechnique
from zoo.gan import GAN
from zoo.module import ZooModule


class InstanceNoise(GameTechnique):
    """Add noise N(0, std^2) to real samples and fakes before the discriminator sees them, in either player's step.

    Distributions on thin sets have no overlap, and a perfect discriminator has no gradient to give; noise makes them
    overlap. Sønderby et al., "Amortised MAP inference for image super-resolution", 2017, section 3; Arjovsky and
    Bottou 2017.

    Args:
        std: standard deviation at first, in units of the samples; 0.1 to 0.5 for images in [-1, 1].
        final_std: at the end; 0 lets the fine details be learnt, None keeps ``std``.
        share: part of the run over which it falls, in (0, 1].
    """

    def __init__(self, std: float = 0.2, final_std: float | None = 0.0, share: float = 0.5) -> None:
        self.require_strengths(share, std=std, final_std=final_std)
        self.std, self.final_std, self.share = std, final_std, share

    def attach(self, module: ZooModule) -> None:
        assert isinstance(module, GAN)
        self.add_discriminator_transform(module, self.transform)

    def transform(self, module: GAN, x: Tensor) -> Tensor:
        """The samples with noise."""
        if self.std > 0 or self.final_std:
            self.acted()  # a run may be taken up when the noise is gone
        std = self.strength(module, self.std, self.final_std, self.share)
        return x + std * torch.randn_like(x) if std > 0 else x

    def no_effect_hint(self) -> str:
        return f"std is {self.std}; it has to be positive"
