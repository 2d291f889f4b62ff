"""What every pair of networks states: the shape of a sample, the latent noise, and how labels enter."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from lightning.pytorch import LightningDataModule
from torch import Tensor, nn

from zoo.errors import ZooError


class Judgement(NamedTuple):
    """What a discriminator says about B samples.

    Attributes:
        logits: (B,), large for what it takes to be real; the log-odds where the loss is logistic.
        classes: (B, num_classes), logits of the classes, from discriminators with an auxiliary classifier.
    """

    logits: Tensor
    classes: Tensor | None = None


class Generator(nn.Module, ABC):
    """Base of generators: latent noise in, samples out.

    Args:
        sample_shape: shape of one sample, [C, H, W] for images and [F] for vectors.
        latent_dim: numbers in one latent vector, drawn from N(0, 1).
        num_classes: classes that a sample can be asked for; 0 for a generator without labels.

    Attributes:
        sample_shape, latent_dim, num_classes: as given.
    """

    def __init__(self, sample_shape: list[int], latent_dim: int, num_classes: int) -> None:
        super().__init__()
        if latent_dim < 1:
            raise ZooError(
                f"{type(self).__name__}: latent_dim must be at least 1, got {latent_dim}; 2 to 512 are usual"
            )
        self.sample_shape, self.latent_dim, self.num_classes = list(sample_shape), latent_dim, num_classes

    @abstractmethod
    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Samples (B, *sample_shape) from noise (B, latent_dim) and labels int64 (B,); images lie in [-1, 1]."""


class Discriminator(nn.Module, ABC):
    """Base of discriminators, also called critics: samples in, judgements out.

    Args:
        sample_shape: shape of one sample.
        num_classes: classes that it is told of; 0 for one without labels.
    """

    def __init__(self, sample_shape: list[int], num_classes: int) -> None:
        super().__init__()
        self.sample_shape, self.num_classes = list(sample_shape), num_classes

    @abstractmethod
    def forward(self, x: Tensor, y: Tensor | None = None) -> Judgement:
        """Judge samples (B, *sample_shape) that are said to have the labels (B,)."""


def image_shape(name: str, sample_shape: list[int]) -> tuple[int, int, int]:
    """(channels, stages, base): an image of ``size = base * 2**stages`` pixels is grown from ``base``, which is 4 to 7.

    >>> image_shape("DCGANGenerator", [1, 28, 28])
    (1, 2, 7)

    Raises:
        ZooError: the samples are not square images of 8 to 256 pixels that can be halved down to 4 to 7.
    """
    if len(sample_shape) != 3 or sample_shape[1] != sample_shape[2]:
        raise ZooError(f"{name} makes square images (C, H, H), got samples of shape {sample_shape}; use an MLP pair")
    channels, size, _ = sample_shape
    base, stages = size, 0
    while base % 2 == 0 and base >= 8:
        base, stages = base // 2, stages + 1
    if not (4 <= base <= 7 and stages):
        raise ZooError(f"{name}: {size} pixels are not 4 to 7 times a power of 2 (8, 16, 28, 32, 64 are); resize them")
    return channels, stages, base


def classes_used(name: str, conditioning: str, num_classes: int) -> int:
    """How many classes a network is built for: none where it takes no labels.

    Raises:
        ZooError: it takes labels, and there are no classes.
    """
    if conditioning == "none":
        return 0
    if num_classes < 1:
        raise ZooError(f"{name}: conditioning={conditioning} needs classes, and num_classes is {num_classes}")
    return num_classes


def check_pair(generator: Generator, discriminator: Discriminator) -> None:
    """Raise ZooError unless the two are about the same samples and the same labels."""
    for fact in ("sample_shape", "num_classes"):
        made, judged = getattr(generator, fact), getattr(discriminator, fact)
        if made != judged:
            hint = "give both a conditioning, or none" if fact == "num_classes" else "give both the same"
            raise ZooError(
                f"{type(generator).__name__} has {fact}={made}, {type(discriminator).__name__} {judged}; {hint}"
            )


def check_samples(generator: Generator, data: LightningDataModule) -> None:
    """Raise ZooError unless the generator can make samples like those of ``data``: of their shape, in their range."""
    shape, limits = getattr(data, "sample_shape", None), getattr(data, "sample_range", None)
    if shape is not None and list(shape) != generator.sample_shape:
        raise ZooError(
            f"the generator makes samples of shape {generator.sample_shape}, {type(data).__name__} has {shape}"
        )
    if len(generator.sample_shape) == 3 and limits is not None and limits != (-1.0, 1.0):
        raise ZooError(
            f"the generator makes images in [-1, 1], but {type(data).__name__} normalises them to"
            f" [{limits[0]:.3g}, {limits[1]:.3g}]; set --data.normalize symmetric"
        )
