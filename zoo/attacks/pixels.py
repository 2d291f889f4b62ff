"""A classifier of pixels: the normalisation belongs to what is attacked."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn


class Pixels(nn.Module):
    """Logits of images whose pixels lie in [0, 1]: ``network((x - mean) / std)``.

    Attacks measure their ball in these units, so that an epsilon means the same for every data set and network.

    Args:
        network: takes normalised images (B, C, H, W) and gives logits (B, num_classes); it is used, not copied.
        mean, std: of images scaled to [0, 1], one number for each channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        device = next((p.device for p in network.parameters()), None)
        with torch.inference_mode(False):  # an evaluation may be under way, and gradients are to pass these numbers
            self.register_buffer("mean", torch.tensor(list(mean), device=device).view(-1, 1, 1))
            self.register_buffer("std", torch.tensor(list(std), device=device).view(-1, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        return cast(Tensor, self.network(self.to_inputs(pixels)))

    def to_inputs(self, pixels: Tensor) -> Tensor:
        """Normalised images, as the network takes them."""
        return (pixels - self.mean) / self.std

    def to_pixels(self, inputs: Tensor) -> Tensor:
        """Images in [0, 1] from normalised ones; what rounding carries outside is cut off."""
        return (inputs * self.std + self.mean).clamp(0, 1)
