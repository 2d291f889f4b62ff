"""AutoAugment: pairs of operations that a search found, one pair for each image."""

from typing import Literal

import torch
from torch import Tensor

from datamodules.augment import ImageTransform, choose
from datamodules.augment_geometry import Fill, check_fill
from datamodules.augment_policies import EXTENDED, RandAugment, Space, apply_operations

# Cubuk et al. 2019, appendix: each line holds pairs "operation probability strength", strengths counted from 0 to 9.
POLICIES = {
    "cifar10": """
        Invert 0.1 -, Contrast 0.2 6        | Rotate 0.7 2, TranslateX 0.3 9     | Sharpness 0.8 1, Sharpness 0.9 3
        ShearY 0.5 8, TranslateY 0.7 9      | AutoContrast 0.5 -, Equalize 0.9 - | ShearY 0.2 7, Posterize 0.3 7
        Color 0.4 3, Brightness 0.6 7       | Sharpness 0.3 9, Brightness 0.7 9  | Equalize 0.6 -, Equalize 0.5 -
        Contrast 0.6 7, Sharpness 0.6 5     | Color 0.7 7, TranslateX 0.5 8      | Equalize 0.3 -, AutoContrast 0.4 -
        TranslateY 0.4 3, Sharpness 0.2 6   | Brightness 0.9 6, Color 0.2 8      | Solarize 0.5 2, Invert 0.0 -
        Equalize 0.2 -, AutoContrast 0.6 -  | Equalize 0.2 -, Equalize 0.6 -     | Color 0.9 9, Equalize 0.6 -
        AutoContrast 0.8 -, Solarize 0.2 8  | Brightness 0.1 3, Color 0.7 0      | Solarize 0.4 5, AutoContrast 0.9 -
        TranslateY 0.9 9, TranslateY 0.7 9  | AutoContrast 0.9 -, Solarize 0.8 3 | Equalize 0.8 -, Invert 0.1 -
        TranslateY 0.7 9, AutoContrast 0.9 -
    """,
    "imagenet": """
        Posterize 0.4 8, Rotate 0.6 9       | Solarize 0.6 5, AutoContrast 0.6 - | Equalize 0.8 -, Equalize 0.6 -
        Posterize 0.6 7, Posterize 0.6 6    | Equalize 0.4 -, Solarize 0.2 4     | Equalize 0.4 -, Rotate 0.8 8
        Solarize 0.6 3, Equalize 0.6 -      | Posterize 0.8 5, Equalize 1.0 -    | Rotate 0.2 3, Solarize 0.6 8
        Equalize 0.6 -, Posterize 0.4 6     | Rotate 0.8 8, Color 0.4 0          | Rotate 0.4 9, Equalize 0.6 -
        Equalize 0.0 -, Equalize 0.8 -      | Invert 0.6 -, Equalize 1.0 -       | Color 0.6 4, Contrast 1.0 8
        Rotate 0.8 8, Color 1.0 2           | Color 0.8 8, Solarize 0.8 7        | Sharpness 0.4 7, Invert 0.6 -
        ShearX 0.6 5, Equalize 1.0 -        | Color 0.4 0, Equalize 0.6 -        | Equalize 0.4 -, Solarize 0.2 4
        Solarize 0.6 5, AutoContrast 0.6 -  | Invert 0.6 -, Equalize 1.0 -       | Color 0.6 4, Contrast 1.0 8
        Equalize 0.8 -, Equalize 0.6 -
    """,
}


def read_policy(name: str) -> list[list[tuple[str, float, int]]]:
    """The sub-policies of a policy: two triples each of operation, probability, and strength (0 where it has none)."""
    pairs = [pair.split(",") for line in POLICIES[name].strip().splitlines() for pair in line.split("|")]
    fields = [[step.split() for step in pair] for pair in pairs]
    return [[(op, float(p), 0 if strength == "-" else int(strength)) for op, p, strength in pair] for pair in fields]


class AutoAugment(ImageTransform):
    """One of 25 pairs of operations, drawn with equal chance; each of the two with its own probability and strength.

    Cubuk et al., "AutoAugment: Learning Augmentation Policies from Data", 2019; operations and strengths as in
    torchvision, signs drawn. Affine maps take the nearest pixel. Comes after RandomCrop and HorizontalFlip, and before
    Cutout, in the paper.

    Args:
        policy: found for "cifar10" (colours and translations) or "imagenet" (colours and rotations).
        fill: grey level of pixels that come from outside, one or one per channel.
    """

    space = Space(**{**vars(RandAugment.space), "bins": 10})
    draws = 5

    def __init__(self, policy: Literal["cifar10", "imagenet"] = "cifar10", fill: Fill = 0) -> None:
        check_fill("AutoAugment", fill)
        table = read_policy(policy)
        self.fill = fill
        self.operations = torch.tensor([[EXTENDED.index(op) for op, _, _ in pair] for pair in table])  # (25, 2)
        self.probabilities = torch.tensor([[p for _, p, _ in pair] for pair in table])
        self.steps = torch.tensor([[step for _, _, step in pair] for pair in table])

    def apply(self, images: Tensor, noise: Tensor) -> Tensor:
        if self.operations.device != images.device:
            self.operations, self.probabilities, self.steps = (
                table.to(images.device) for table in (self.operations, self.probabilities, self.steps)
            )
        chosen = choose(noise[:, 0], len(self.operations))
        for place in range(2):
            wanted = noise[:, 1 + place] < self.probabilities[chosen, place]
            operation = self.operations[chosen, place] * wanted  # 0 is the identity
            sign = choose(noise[:, 3 + place], 2)
            images = apply_operations(images, operation, sign, self.steps[chosen, place], self.space, self.fill)
        return images
