"""Which features a game's samples are judged by: of a run that is given, of a small classifier, or plain ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from zoo.errors import ZooError
from zoo.from_run import data_from_run, model_from_run
from zoo.judging.classifier import train_classifier
from zoo.judging.data import num_classes, real_samples
from zoo.judging.features import ClassifierFeatures, Features, PlainFeatures
from zoo.module import SupervisedModule
from zoo.task import Classification

_ALL, _FOR_COMPONENTS = 10**9, 2000


@runtime_checkable
class HasPixels(Protocol):
    """Images that say how their pixels, in [0, 1], were normalised; a number for each channel."""

    @property
    def pixel_mean(self) -> Sequence[float]: ...

    @property
    def pixel_std(self) -> Sequence[float]: ...


def to_pixels(data: LightningDataModule | None) -> tuple[Tensor, Tensor]:
    """Scale and shift, (C,) each, that bring images as the networks see them to pixels in [0, 1].

    Raises:
        ZooError: the data do not say how they are normalised.
    """
    if not isinstance(data, HasPixels):
        raise ZooError(f"{type(data).__name__} does not say how its pixels are normalised, which a network has to know")
    return torch.tensor(data.pixel_std), torch.tensor(data.pixel_mean)


def default_features(data: LightningDataModule, sample_shape: list[int], device: torch.device) -> Features:
    """Of a small classifier for square images with classes, which is trained now; otherwise plain ones."""
    images = len(sample_shape) == 3
    if images and num_classes(data) > 1 and sample_shape[1] == sample_shape[2] >= 8:
        train = real_samples(data, "train", _ALL)
        assert train.y is not None
        model = train_classifier(train.x.to(device), train.y.to(device), num_classes(data))
        return ClassifierFeatures(model, torch.ones(1), torch.zeros(1))
    known = real_samples(data, "train", _FOR_COMPONENTS)
    return PlainFeatures("pixels" if images else "points", known.x, known.y)


def features_from_run(
    run: Path, data: LightningDataModule | None, sample_shape: list[int], device: torch.device
) -> Features:
    """Of the classifier of another run, which sees the images normalised as it has learnt them.

    Raises:
        ZooError: the folder is no run, or its model is not about samples and classes like those of ``data``.
    """
    model, theirs = model_from_run(run), data_from_run(run)
    if not isinstance(model, SupervisedModule) or not isinstance(model.task, Classification):
        raise ZooError(f"the {type(model).__name__} in {run} has not learnt to tell classes apart")
    if num_classes(data) not in (0, model.task.num_classes):
        raise ZooError(
            f"{run} tells {model.task.num_classes} classes apart, and {type(data).__name__} has {num_classes(data)}"
        )
    (scale, shift), (std, mean) = to_pixels(data), to_pixels(theirs)
    try:
        features = ClassifierFeatures(model.to(device), scale / std, (shift - mean) / std)
        features(torch.zeros(2, *sample_shape))
    except RuntimeError as error:
        raise ZooError(f"the {type(model).__name__} in {run} cannot take samples of shape {sample_shape}") from error
    return features
