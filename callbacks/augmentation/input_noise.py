"""Gaussian noise on the inputs: the oldest augmentation."""

import torch
from torch import Tensor

from callbacks.augmentation.series import is_valid
from callbacks.technique import Technique, UnsupportedModule
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.module import SupervisedModule, ZooModule


def add_noise(x: Tensor, std: float | Tensor) -> Tensor:
    """x + std * e with e ~ N(0, 1) for each number; drawn on the device of ``x``."""
    return x + std * torch.randn_like(x)


def channel_deviation(x: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Standard deviation of each channel over the batch, in the shape of ``x`` with 1 for all other dimensions.

    Args:
        x: images (B, C, H, W), sequences (B, T, C) or rows (B, C).
        lengths: int64 (B,), valid steps of padded sequences; the others do not count.
    """
    if x.ndim == 3 and lengths is not None:
        valid = _is_valid(x, lengths).to(x.dtype)
        steps = valid.sum()
        mean = (x * valid).sum((0, 1), keepdim=True) / steps
        return (((x - mean) * valid).square().sum((0, 1), keepdim=True) / steps).sqrt()
    channel = 1 if x.ndim == 4 else x.ndim - 1
    return x.std([dim for dim in range(x.ndim) if dim != channel], correction=0, keepdim=True)


class InputNoise(Technique):
    """Add Gaussian noise to the inputs of each training batch; in time series this is called jitter.

    For small noise and a squared error this is a penalty on the network's slope, std^2 times the mean squared
    Jacobian. Bishop, "Training with noise is equivalent to Tikhonov regularization", 1995. The padding of sequences
    stays zero.

    Args:
        std: standard deviation, in the units that the network sees (normalised inputs); 0 changes nothing.
        per_channel: take the deviation of each channel in the batch for the unit instead, as inputs need that are in
            their own units, such as series to forecast.
    """

    supports = SupervisedModule
    inputs = ("vectors", "images", "sequences")

    def __init__(self, std: float = 0.1, per_channel: bool = False) -> None:
        if not std >= 0:
            raise ZooError(f"InputNoise: std must not be negative, got {std}; 0.01 to 0.3 are usual")
        self.std, self.per_channel = std, per_channel

    def attach(self, module: ZooModule) -> None:
        self.add_batch_transform(module, self.transform)

    def transform(self, module: ZooModule, batch: Batch) -> Batch:
        """The batch with noisy inputs."""
        if self.std == 0:
            return batch
        x = batch.x
        if not isinstance(x, Tensor) or not x.is_floating_point():
            kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise UnsupportedModule(f"InputNoise needs inputs that are one tensor of floats, got {kind}; drop it")
        std = self.std * channel_deviation(x, batch.lengths) if self.per_channel else self.std
        noisy = add_noise(x, std)
        if batch.lengths is not None:
            noisy = noisy.where(_is_valid(x, batch.lengths), x)
        return batch._replace(x=noisy)

    def no_effect_hint(self) -> str:
        return f"std is {self.std}; it has to be positive"


def _is_valid(x: Tensor, lengths: Tensor) -> Tensor:
    """Which steps are no padding, bool (B, T, 1)."""
    return is_valid(x.shape[1], lengths).unsqueeze(2)
