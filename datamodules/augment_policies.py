"""Augmentations that pick an operation for each image: colour jitter in random order, RandAugment, TrivialAugment.

A batch is sorted by what its images picked, each operation runs once on its share, and the images are put back in
order: at most one call per operation, however large the batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

import torch
from torch import Tensor

from datamodules import augment_color as color
from datamodules import augment_geometry as geometry
from datamodules.augment import ImageTransform, choose
from datamodules.augment_geometry import Fill, check_fill, warp
from zoo.errors import ZooError

Branch = Callable[[Tensor, Tensor], Tensor]
"""A function of images (n, C, H, W) and of their rows in the batch, int64 (n,)."""


def route(images: Tensor, choice: Tensor, branches: Sequence[Branch]) -> Tensor:
    """Send each image through the branch that it chose.

    Args:
        images: uint8 of shape (B, C, H, W).
        choice: int64 of shape (B,), in 0 .. len(branches) - 1.
        branches: keep the shape of the images.

    Returns:
        uint8 of shape (B, C, H, W), in the order of ``images``.
    """
    order = choice.argsort(stable=True)
    counts = torch.bincount(choice, minlength=len(branches)).tolist()  # the only wait for the device
    shares = zip(branches, order.split(counts), strict=True)
    results = [branch(images.index_select(0, rows), rows) for branch, rows in shares if len(rows)]
    return torch.cat(results).index_select(0, order.argsort()) if results else images


class ColorJitter(ImageTransform):
    """Change brightness, contrast and saturation, each by its own factor and in an order drawn for each image.

    Args:
        brightness: the factor is uniform in [max(0, 1 - brightness), 1 + brightness]; 0 changes nothing.
        contrast: likewise.
        saturation: likewise; nothing happens to images of one channel.
    """

    draws = 4

    def __init__(self, brightness: float = 0.4, contrast: float = 0.4, saturation: float = 0.4) -> None:
        for name, strength in (("brightness", brightness), ("contrast", contrast), ("saturation", saturation)):
            if strength < 0:
                raise ZooError(f"ColorJitter: {name} is {strength}; give 0 or more")
        self.strengths = (brightness, contrast, saturation)

    def apply(self, images: Tensor, noise: Tensor) -> Tensor:
        low = torch.tensor([max(0.0, 1 - s) for s in self.strengths], device=images.device)
        high = torch.tensor([1 + s for s in self.strengths], device=images.device)
        factors = low + (high - low) * noise[:, :3]  # (B, 3)
        operations = [color.brightness, color.contrast, color.saturation]
        used = [i for i, strength in enumerate(self.strengths) if strength > 0]

        def in_order(order: tuple[int, ...]) -> Branch:
            def jitter(images: Tensor, rows: Tensor) -> Tensor:
                for i in order:
                    images = operations[i](images, factors[rows, i])
                return images

            return jitter

        branches = [in_order(order) for order in permutations(used)]
        return route(images, choose(noise[:, 3], len(branches)), branches)


# The operations of both policies, in the order of their numbers: one that does nothing, the affine maps, the colours.
MAPS = {
    "ShearX": geometry.shear_x_matrix,
    "ShearY": geometry.shear_y_matrix,
    "TranslateX": geometry.translate_x_matrix,
    "TranslateY": geometry.translate_y_matrix,
    "Rotate": geometry.rotate_matrix,
}
COLORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Brightness": lambda images, strength: color.brightness(images, 1 + strength),
    "Color": lambda images, strength: color.saturation(images, 1 + strength),
    "Contrast": lambda images, strength: color.contrast(images, 1 + strength),
    "Sharpness": lambda images, strength: color.sharpness(images, 1 + strength),
    "Posterize": color.posterize,
    "Solarize": lambda images, strength: color.solarize(images, 255 * strength),
    "AutoContrast": lambda images, strength: color.autocontrast(images),
    "Equalize": lambda images, strength: color.equalize(images),
}
OPERATIONS = ("Identity", *MAPS, *COLORS)
EXTENDED = (*OPERATIONS, "Invert")  # behind the others, which RandAugment and TrivialAugment draw from
UNSIGNED = ("Posterize", "Solarize")
BINS = 31


@dataclass(frozen=True)
class Space:
    """The greatest strength of each operation in a policy; strengths go there from nothing in equal steps.

    Attributes:
        shear: pixels per pixel.
        translate: pixels, or a share of the width (of the height for y) if ``relative``.
        rotate: degrees.
        enhance: how far the factor of brightness, colour, contrast and sharpness goes from 1.
        posterize: bits that are lost of ``bits``.
        bins: strengths of an operation.
        bits: that the weakest Posterize leaves of the 8.
    """

    shear: float
    translate: float
    relative: bool
    rotate: float
    enhance: float
    posterize: int
    bins: int = BINS
    bits: int = 8

    def strengths(self, name: str, height: int, width: int) -> Tensor:
        """The strengths of an operation, float32 (bins,), weakest first; zeros where it has none."""
        if name == "Posterize":
            return self.bits - (torch.arange(self.bins) / ((self.bins - 1) / self.posterize)).round()
        if name == "Solarize":
            return torch.linspace(1, 0, self.bins)  # the share of 255 at which inversion begins
        greatest = {
            "ShearX": self.shear,
            "ShearY": self.shear,
            "TranslateX": self.translate * (width if self.relative else 1),
            "TranslateY": self.translate * (height if self.relative else 1),
            "Rotate": self.rotate,
            "Brightness": self.enhance,
            "Color": self.enhance,
            "Contrast": self.enhance,
            "Sharpness": self.enhance,
        }
        return torch.linspace(0, greatest.get(name, 0.0), self.bins)


@lru_cache(maxsize=16)
def _tables(space: Space, height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Strengths (operations, 2 signs, bins) and affine maps (operations, 2, bins, 2, 3).

    Sine and cosine are taken on the CPU, once, since their last bit depends on the device and on an image's place in
    the batch.
    """
    strengths, matrices = [], []
    for name in EXTENDED:
        up = space.strengths(name, height, width)
        both = torch.stack([up, up if name in UNSIGNED else -up])
        strengths.append(both)
        matrix = MAPS.get(name)
        for strength in both.flatten().tolist():
            matrices.append(matrix(strength, height, width) if matrix else geometry.IDENTITY)
    maps = geometry.matrix_tensor(matrices).view(len(EXTENDED), 2, space.bins, 2, 3)
    return torch.stack(strengths).to(device), maps.to(device)


def apply_operations(images: Tensor, operation: Tensor, sign: Tensor, step: Tensor, space: Space, fill: Fill) -> Tensor:
    """One operation on each image.

    Args:
        images: uint8 of shape (B, C, H, W).
        operation: int64 of shape (B,), a place in ``EXTENDED``.
        sign: int64 of shape (B,), 1 turns the strength round where it has a direction.
        step: int64 of shape (B,), 0 (weakest) .. bins - 1 (strongest).
        space: what the steps mean.
        fill: grey level of pixels that an affine map brings in from outside.
    """
    height, width = images.shape[2:]
    tables = _tables(space, height, width, images.device)
    strengths, matrices = (table[operation, sign, step] for table in tables)  # (B,) and (B, 2, 3)

    def colored(change: Callable[[Tensor, Tensor], Tensor]) -> Branch:
        return lambda images, rows: change(images, strengths[rows])

    branches: list[Branch] = [
        lambda images, rows: images,
        lambda images, rows: warp(images, matrices[rows], fill),  # all affine maps in one call
        *(colored(change) for change in COLORS.values()),
        lambda images, rows: 255 - images,
    ]
    # Identity is branch 0, the affine maps are branch 1, and each colour has its own.
    branch = torch.where(operation <= len(MAPS), operation.clamp(max=1), operation - len(MAPS) + 1)
    return route(images, branch, branches)


class RandAugment(ImageTransform):
    """A fixed number of operations, drawn with equal chance from fourteen, all at one strength with a random sign.

    Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search space", 2019; operations,
    order and strengths as in torchvision. Affine maps take the nearest pixel.

    Args:
        num_ops: operations on each image, 0 or more; 0 leaves it as it is. 2 is usual.
        magnitude: strength, 0 .. 30; 9 is usual, more for larger networks. At 0 there remain AutoContrast and Equalize,
            which have no strength, and Solarize, which turns pure white black.
        fill: grey level of pixels that come from outside, one or one per channel.
    """

    space = Space(shear=0.3, translate=150 / 331, relative=True, rotate=30, enhance=0.9, posterize=4)

    def __init__(self, num_ops: int = 2, magnitude: int = 9, fill: Fill = 0) -> None:
        if num_ops < 0:
            raise ZooError(f"RandAugment: num_ops is {num_ops}; give 0 or more operations")
        if not 0 <= magnitude < BINS:
            raise ZooError(f"RandAugment: magnitude is {magnitude}; give a strength in 0..{BINS - 1}")
        check_fill("RandAugment", fill)
        self.num_ops, self.magnitude, self.fill = num_ops, magnitude, fill
        self.draws = 2 * num_ops

    def apply(self, images: Tensor, noise: Tensor) -> Tensor:
        for i in range(self.num_ops):
            operation, sign = choose(noise[:, 2 * i], len(OPERATIONS)), choose(noise[:, 2 * i + 1], 2)
            step = torch.full_like(operation, self.magnitude)
            images = apply_operations(images, operation, sign, step, self.space, self.fill)
        return images


class TrivialAugment(ImageTransform):
    """One operation, drawn with equal chance from fourteen, at a strength drawn with equal chance from 31.

    Müller and Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation", 2021, the wide space,
    as in torchvision. Affine maps take the nearest pixel. The strongest translation is 32 pixels whatever the
    size of the image, so that at 32 x 32 one image in 217 is wholly ``fill``.

    Args:
        fill: grey level of pixels that come from outside, one or one per channel.
    """

    space = Space(shear=0.99, translate=32, relative=False, rotate=135, enhance=0.99, posterize=6)
    draws = 3

    def __init__(self, fill: Fill = 0) -> None:
        check_fill("TrivialAugment", fill)
        self.fill = fill

    def apply(self, images: Tensor, noise: Tensor) -> Tensor:
        operation, sign, step = (choose(noise[:, i], n) for i, n in enumerate((len(OPERATIONS), 2, BINS)))
        return apply_operations(images, operation, sign, step, self.space, self.fill)
