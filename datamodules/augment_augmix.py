"""AugMix: several chains of operations on one image, mixed with each other and with the image itself."""

import torch
from torch import Tensor

from datamodules.augment import ImageTransform, choose
from datamodules.augment_geometry import Fill, check_fill
from datamodules.augment_policies import EXTENDED, Space, apply_operations
from zoo.errors import ZooError

# Without colours and sharpness, which are among the corruptions that the paper judges robustness by.
OPERATIONS = (
    "AutoContrast", "Equalize", "Posterize", "Rotate", "Solarize", "ShearX", "ShearY", "TranslateX", "TranslateY",
)  # fmt: skip
DEPTH = 3
"""Operations of a chain at most."""


class AugMix(ImageTransform):
    """m x + (1 - m) sum_i w_i c_i(x): chains c_i of one to three operations, with w ~ Dirichlet(1), m ~ Beta(1, 1).

    Hendrycks et al., "AugMix: A Simple Data Processing Method to Improve Robustness and Uncertainty", 2020, algorithm
    1, with its alpha of 1; operations and strengths as in torchvision, with random signs. The loss that the paper adds,
    which asks for equal answers to three such images, is not part of it. Affine maps take the nearest pixel.

    Args:
        severity: strengths are drawn from so many of ten steps, the weakest first; 3 is the paper's, 1 leaves
            AutoContrast, Equalize and Posterize.
        chains: 3 is the paper's; more come nearer to the mean of all operations.
        fill: grey level of pixels that come from outside, one or one per channel.
    """

    space = Space(shear=0.3, translate=1 / 3, relative=True, rotate=30, enhance=0.0, posterize=4, bins=10, bits=4)

    def __init__(self, severity: int = 3, chains: int = 3, fill: Fill = 0) -> None:
        if not 1 <= severity <= self.space.bins:
            raise ZooError(f"AugMix: severity is {severity}; give 1 to {self.space.bins} steps of strength")
        if chains < 1:
            raise ZooError(f"AugMix: chains is {chains}; give 1 or more, 3 is usual")
        check_fill("AugMix", fill)
        self.severity, self.chains, self.fill = severity, chains, fill
        self.draws = 1 + chains * (2 + 3 * DEPTH)  # m; of each chain its weight, its length and its operations

    def apply(self, images: Tensor, noise: Tensor) -> Tensor:
        own, rest = noise[:, 0], noise[:, 1:].view(len(noise), self.chains, 2 + 3 * DEPTH)
        # Exponential variables, divided by their sum, are Dirichlet(1).
        weights = -torch.log1p(-rest[:, :, 0])
        weights = (1 - own)[:, None] * weights / weights.sum(1, keepdim=True)  # (B, chains)
        mixed = images * own.view(-1, 1, 1, 1)
        for chain in range(self.chains):
            mixed.addcmul_(self._chain(images, rest[:, chain, 1:]), weights[:, chain].view(-1, 1, 1, 1))
        return mixed.round_().to(torch.uint8)

    def _chain(self, images: Tensor, noise: Tensor) -> Tensor:
        """One chain on each image: noise (B, 1 + 3 DEPTH) for its length, and operation, sign and strength of each."""
        places = torch.tensor([EXTENDED.index(name) for name in OPERATIONS], device=images.device)
        length = choose(noise[:, 0], DEPTH) + 1
        for place in range(DEPTH):
            operation, sign, step = noise[:, 1 + 3 * place : 4 + 3 * place].unbind(1)
            drawn = places[choose(operation, len(places))].where(place < length, 0)  # 0 is Identity
            images = apply_operations(
                images, drawn, choose(sign, 2), choose(step, self.severity), self.space, self.fill
            )
        return images
