"""Augmentation of a whole batch of images on its device; every image has its own draw and no image is looped over.

A transform takes the images as bytes and gives back bytes: a quarter of the memory traffic of floats, and the integers
that published policies were defined on. ``normalize`` then makes floats, once, at the end.

What an image looks like is a function of (seed, epoch, place of the image in its data set) and of nothing else: not of
the batch that it is in, nor of workers, processes or the device (but for the last grey level of a bilinear
interpolation). The policies of colour and affine maps are in ``datamodules.augment_policies``.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from datamodules.augment_geometry import Fill, check_fill, crop, erase, horizontal_flip, pad, resize_boxes
from zoo.errors import DataError, ZooError
from zoo.randomness import uniform


def normalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """``(images / 255 - mean) / std`` as one multiply-add.

    Args:
        images: uint8 of shape (N, C, H, W).
        mean, std: one number per channel (or one for all), of images scaled to [0, 1].

    Returns:
        float32 of shape (N, C, H, W).
    """
    scale = torch.tensor([1 / (255 * s) for s in std], device=images.device).view(-1, 1, 1)
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], device=images.device).view(-1, 1, 1)
    return images.float().mul_(scale).add_(shift)


class ImageTransform(ABC):
    """One augmentation: a fixed number of uniform draws per image, and a function of images and draws.

    The draws are named by the class, so a transform keeps its draws when others are added or moved; two of the same
    class in one list draw the same numbers.
    """

    draws: int
    """Uniform numbers that one image needs."""

    def __call__(self, images: Tensor, index: Tensor, seed: int, epoch: int) -> Tensor:
        """Augment a batch.

        Args:
            images: uint8 of shape (B, C, H, W), C 1 or 3; not changed.
            index: int64 of shape (B,), each image's place in its data set, on the device of ``images``.
            seed: seed of the run.
            epoch: epoch of training.

        Returns:
            uint8 of the same shape.

        Raises:
            DataError: the images are not such a batch.
        """
        name = type(self).__name__
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
            raise DataError(
                f"{name}: got {images.dtype} images of shape {tuple(images.shape)};"
                " give uint8 of shape (B, 1 or 3, H, W)"
            )
        if index.shape != images.shape[:1]:
            raise DataError(
                f"{name}: got {len(images)} images, but an index of shape {tuple(index.shape)}; give one each"
            )
        return self.apply(images, uniform(index, self.draws, seed, epoch, name))

    @abstractmethod
    def apply(self, images: Tensor, noise: Tensor) -> Tensor:
        """The formula: ``images``, uint8 (B, C, H, W), changed by ``noise``, float32 (B, draws) in [0, 1)."""


def choose(noise: Tensor, count: int | Tensor) -> Tensor:
    """Turn uniform draws into whole numbers 0 .. count - 1 of equal chance, int64 of the same shape."""
    # The product cannot round up to ``count``: the largest draw is 1 - 2**-24, the unit of least precision below 1.
    return (noise * count).long()


class RandomCrop(ImageTransform):
    """Pad all sides, then cut a window of the old size at a place drawn uniformly from the (2 padding + 1)^2.

    Usual for small images: He et al., "Deep Residual Learning for Image Recognition", 2015, sec. 4.2.

    Args:
        padding: pixels on each side, 0 or more; 0 leaves the image as it is. 4 is usual for 32 x 32.
        fill: what the padding shows, black or the image mirrored at its edge (then less than the image's size).
    """

    draws = 2

    def __init__(self, padding: int = 4, fill: Literal["zero", "reflect"] = "zero") -> None:
        if padding < 0:
            raise ZooError(f"RandomCrop: padding is {padding}; give 0 or more pixels")
        self.padding, self.fill = padding, fill

    def apply(self, images: Tensor, noise: Tensor) -> Tensor:
        height, width = images.shape[2:]
        if self.fill == "reflect" and self.padding >= min(height, width):
            raise DataError(
                f"RandomCrop: cannot mirror {self.padding} pixels of images of {height} x {width};"
                " lower padding or set fill to zero"
            )
        top, left = choose(noise, 2 * self.padding + 1).unbind(1)
        return crop(pad(images, self.padding, self.fill == "reflect"), top, left, height, width)


class HorizontalFlip(ImageTransform):
    """Mirror left and right.

    Not for what has a hand to it: digits, letters, text.

    Args:
        p: probability, 0 to 1.
    """

    draws = 1

    def __init__(self, p: float = 0.5) -> None:
        _check_probability("HorizontalFlip", p)
        self.p = p

    def apply(self, images: Tensor, noise: Tensor) -> Tensor:
        return horizontal_flip(images, noise[:, 0] < self.p)


class Cutout(ImageTransform):
    """Paint a square whose centre is drawn uniformly from the pixels; what lies outside the image is cut off.

    DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017, sec. 3.

    Args:
        size: side of the square in pixels, 0 or more; 0 paints nothing. 16 (CIFAR-10) and 8 (CIFAR-100) at 32 x 32.
        fill: grey level, one or one per channel. Black by default; the paper paints after normalisation, which is the
            mean of the data set here.
    """

    draws = 2

    def __init__(self, size: int, fill: Fill = 0) -> None:
        if size < 0:
            raise ZooError(f"Cutout: size is {size}; give 0 or more pixels")
        check_fill("Cutout", fill)
        self.size, self.fill = size, fill

    def apply(self, images: Tensor, noise: Tensor) -> Tensor:
        height, width = images.shape[2:]
        top = choose(noise[:, 0], height) - self.size // 2
        left = choose(noise[:, 1], width) - self.size // 2
        side = torch.full_like(top, self.size)
        return erase(images, top, left, side, side, self.fill)


class _RandomBox(ImageTransform):
    """A box that covers a share ``scale`` of the image's area and has a ratio width / height from ``ratio``.

    Up to ten draws of area (uniform) and ratio (log-uniform) are made for each image, and the first that fits is taken.
    """

    attempts = 10
    draws = 2 * attempts + 2

    def __init__(self, scale: tuple[float, float], ratio: tuple[float, float]) -> None:
        name = type(self).__name__
        if not 0 < scale[0] <= scale[1] <= 1:
            raise ZooError(f"{name}: scale is {scale}; give two shares of the image's area with 0 < low <= high <= 1")
        if not 0 < ratio[0] <= ratio[1]:
            raise ZooError(f"{name}: ratio is {ratio}; give two numbers with 0 < low <= high")
        self.scale, self.ratio = scale, ratio
        # A table, since the last bit of exp() depends on the device and on an image's place in the batch.
        low, high = math.log(ratio[0]), math.log(ratio[1])
        self.ratios = torch.tensor([math.exp(low + (high - low) * (i + 0.5) / 1024) for i in range(1024)])

    def boxes(self, noise: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Top, left, height and width of the boxes, int64 of shape (B,), and whether any attempt did fit, bool (B,)."""
        area, shape, place = noise.split([self.attempts, self.attempts, 2], dim=1)
        area = height * width * (self.scale[0] + (self.scale[1] - self.scale[0]) * area)
        ratio = self.ratios.to(noise.device)[choose(shape, len(self.ratios))]
        box_width = (area * ratio).sqrt().round().long()  # (B, attempts)
        box_height = (area / ratio).sqrt().round().long()
        fits = (box_width > 0) & (box_width <= width) & (box_height > 0) & (box_height <= height)
        first = fits.byte().argmax(dim=1, keepdim=True)
        box_height, box_width = box_height.gather(1, first)[:, 0], box_width.gather(1, first)[:, 0]
        top = choose(place[:, 0], (height - box_height + 1).clamp(min=1))
        left = choose(place[:, 1], (width - box_width + 1).clamp(min=1))
        return top, left, box_height, box_width, fits.any(dim=1)


class RandomErasing(_RandomBox):
    """Paint a box of random area, shape and place.

    Zhong et al., "Random Erasing Data Augmentation", 2017, algorithm 1. Here the box has one grey level,
    not random pixels, and tall and wide boxes are equally likely.

    Args:
        p: probability, 0 to 1.
        scale: smallest and largest share of the image's area.
        ratio: smallest and largest width / height; the draw is uniform in its logarithm.
        fill: grey level, one or one per channel.
    """

    draws = _RandomBox.draws + 1

    def __init__(
        self,
        p: float = 0.5,
        scale: tuple[float, float] = (0.02, 0.4),
        ratio: tuple[float, float] = (0.3, 1 / 0.3),
        fill: Fill = 0,
    ) -> None:
        super().__init__(scale, ratio)
        _check_probability("RandomErasing", p)
        check_fill("RandomErasing", fill)
        self.p, self.fill = p, fill

    def apply(self, images: Tensor, noise: Tensor) -> Tensor:
        top, left, box_height, box_width, found = self.boxes(noise[:, 1:], *images.shape[2:])
        wanted = found & (noise[:, 0] < self.p)
        return erase(images, top, left, box_height * wanted, box_width * wanted, self.fill)


class RandomResizedCrop(_RandomBox):
    """Cut a box of random area, shape and place and enlarge it to the size of the image, bilinear.

    Szegedy et al., "Going Deeper with Convolutions", 2014, sec. 6. Where no draw fits, the largest centred box with an
    allowed ratio is taken. For larger pictures; at 32 x 32 and below RandomCrop keeps more of the image.

    Args:
        scale: smallest and largest share of the image's area; (1, 1) with a ratio of (1, 1) keeps a square image.
        ratio: smallest and largest width / height; the draw is uniform in its logarithm.
    """

    def __init__(self, scale: tuple[float, float] = (0.08, 1.0), ratio: tuple[float, float] = (3 / 4, 4 / 3)) -> None:
        super().__init__(scale, ratio)

    def apply(self, images: Tensor, noise: Tensor) -> Tensor:
        height, width = images.shape[2:]
        top, left, box_height, box_width, found = self.boxes(noise, height, width)
        central_height = min(height, max(1, round(width / self.ratio[0])))
        central_width = min(width, max(1, round(height * self.ratio[1])))
        return resize_boxes(
            images,
            top.where(found, (height - central_height) // 2),
            left.where(found, (width - central_width) // 2),
            box_height.where(found, central_height),
            box_width.where(found, central_width),
        )


def _check_probability(name: str, p: float) -> None:
    if not 0 <= p <= 1:
        raise ZooError(f"{name}: p is {p}; give a probability in 0..1")
