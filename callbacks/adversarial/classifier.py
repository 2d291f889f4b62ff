"""From a module and its data to the classifier of pixels that is attacked."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from callbacks.technique import UnsupportedModule
from zoo.attacks.pixels import Pixels
from zoo.module import SupervisedModule
from zoo.task import Classification


@runtime_checkable
class NormalisesPixels(Protocol):
    """Data whose inputs are (pixels - pixel_mean) / pixel_std, with pixels in [0, 1]."""

    @property
    def pixel_mean(self) -> Sequence[float]: ...

    @property
    def pixel_std(self) -> Sequence[float]: ...


def require_classifier(name: str, module: SupervisedModule, trainer: Trainer) -> None:
    """Raise UnsupportedModule unless ``module`` tells classes apart and its data say what a pixel is."""
    if not isinstance(module.task, Classification):
        raise UnsupportedModule(
            f"{name} does not support the task {type(module.task).__name__}: an attack is on a class; use"
            f" Classification, or drop {name}"
        )
    data = trainer.datamodule  # type: ignore[attr-defined]
    if not isinstance(data, NormalisesPixels):
        given = "plain loaders" if data is None else type(data).__name__
        raise UnsupportedModule(
            f"{name} measures its ball in pixels and needs data with pixel_mean and pixel_std, which {given} do not"
            f" state; use a DataModule of images, or drop {name}"
        )


def classifier_of_pixels(module: SupervisedModule) -> Pixels:
    """The module as a function of pixels in [0, 1], with the normalisation that its data have at this moment."""
    data = module.trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(data, NormalisesPixels)  # see ``require_classifier``
    return Pixels(module, data.pixel_mean, data.pixel_std)


def require_images(name: str, x: object) -> None:
    """Raise UnsupportedModule unless a batch holds float32 images (B, C, H, W)."""
    if not isinstance(x, Tensor) or x.ndim != 4 or x.dtype != torch.float32:
        kind = f"{x.dtype} of shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise UnsupportedModule(
            f"{name} takes float32 images (B, C, H, W), got {kind}; train with precision 32-true or bf16-mixed, or drop"
            f" {name}"
        )
