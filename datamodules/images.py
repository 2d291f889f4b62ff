"""Small image sets in memory: uint8 tensors, augmented and normalised as whole batches on the device."""

from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.augment import ImageTransform, normalize
from datamodules.base import TensorSplit, ZooDataModule
from datamodules.checks import check_labels, check_shape, stratified_split
from datamodules.raw_images import RawImages
from zoo.preprocessing import Preprocessing
from zoo.randomness import permutation


class ImageDataModule(ZooDataModule):
    """Base of image sets with a fixed test split; the validation split is carved from train, stratified.

    A subclass states the class attributes and returns uint8 images (N, C, H, W) with labels from ``read``.

    Args:
        batch_size: training images in a step of one process, or "full".
        val_fraction: share of the training images held out for validation, the same of every class.
        augment: transforms of training images, applied in order before normalisation.
        split_seed: decides which images are held out; not the seed of the run, so that seeds share a split.
        eval_batch_size, drop_last, num_workers: see ZooDataModule.
        normalize: "train" brings the training images to mean 0 and variance 1, "symmetric" brings pixels to [-1, 1].
    """

    channels: int
    size: int
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __init__(
        self,
        batch_size: int | Literal["full"] = 128,
        val_fraction: float = 0.1,
        augment: list[ImageTransform] | None = None,
        split_seed: int = 0,
        eval_batch_size: int = 512,
        drop_last: bool = False,
        num_workers: int = 0,
        normalize: Literal["train", "symmetric"] = "train",
    ) -> None:
        super().__init__(batch_size, eval_batch_size, drop_last, num_workers)
        self.val_fraction, self.split_seed = val_fraction, split_seed
        self.augment = augment or []
        if normalize == "symmetric":
            self.mean = self.std = (0.5,) * self.channels

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def in_channels(self) -> int:
        return self.channels

    @property
    def image_size(self) -> int:
        return self.size

    @property
    def in_features(self) -> int:
        return self.channels * self.size * self.size

    @property
    def pixel_mean(self) -> tuple[float, ...]:
        """Mean of the pixels, scaled to [0, 1], that inputs are normalised with; one number a channel."""
        return self.mean

    @property
    def pixel_std(self) -> tuple[float, ...]:
        """Standard deviation that inputs are normalised with."""
        return self.std

    @property
    def sample_shape(self) -> list[int]:
        return [self.channels, self.size, self.size]

    @property
    def sample_range(self) -> tuple[float, float]:
        limits = [((0 - m) / s, (1 - m) / s) for m, s in zip(self.mean, self.std)]
        return min(low for low, _ in limits), max(high for _, high in limits)

    def read(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """((train images, train labels), (test images, test labels)); uint8 (N, C, H, W) and int64 (N,)."""
        raise NotImplementedError

    def load(self) -> dict[str, Dataset[Any]]:
        (x, y), (x_test, y_test) = self.read()
        # Before anything is held out: the numbers in errors are then those of the files.
        self.check(TensorSplit(x, y), f"{type(self).__name__} train")
        kept, held_out = stratified_split(y, self.val_fraction, permutation(len(y), self.split_seed, "split"))
        return {
            "train": TensorSplit(x[kept], y[kept]),
            "val": TensorSplit(x[held_out], y[held_out]),
            "test": TensorSplit(x_test, y_test),
        }

    def check(self, split: Dataset[Any], where: str) -> None:
        super().check(split, where)
        if isinstance(split, TensorSplit):
            check_shape(split.x, (self.channels, self.size, self.size), torch.uint8, where)
            check_labels(split.y, self.num_classes, where)

    def preprocessing(self) -> Preprocessing | None:
        return RawImages(tuple(self.classes), self.channels, self.size, tuple(self.mean), tuple(self.std))

    def augment_batch(self, x: Tensor, index: Tensor, seed: int, epoch: int) -> Tensor:
        for transform in self.augment:
            x = transform(x, index, seed, epoch)
        return x

    def transform_batch(self, x: Tensor) -> Tensor:
        return normalize(x, self.mean, self.std)
