"""Scaling: multiply each channel of a sequence, or the whole of it, with a random factor."""

from typing import Literal

import torch
from torch import Tensor

from callbacks.augmentation.series import is_forecast, require_series
from callbacks.technique import Technique
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.module import SupervisedModule, ZooModule


def scale(batch: Batch, factor: Tensor) -> Batch:
    """x~ = f x; targets that continue the first channels are scaled with them.

    Args:
        batch: x floats (B, T, C).
        factor: f, (B, C) or (B, 1).
    """
    factor = factor.unsqueeze(1)  # (B, 1, C)
    y = batch.y
    if is_forecast(batch):
        y = y * factor[..., : y.shape[2]]
    return batch._replace(x=batch.x * factor, y=y)


class Scaling(Technique):
    """Multiply each training sequence with random factors, f ~ N(1, std^2), one a channel or one for all channels.

    Um et al., "Data augmentation of wearable sensor data for Parkinson's disease monitoring using convolutional neural
    networks", 2017. Padding stays zero. What is forecast is scaled with the channels that it continues.

    Args:
        std: deviation of the factors from 1; 0 changes nothing, above 0.3 signs flip now and then.
        per: one factor for each "channel" of a "sample", or one for all of its channels.
    """

    supports = SupervisedModule
    inputs = ("sequences",)

    def __init__(self, std: float = 0.1, per: Literal["channel", "sample"] = "channel") -> None:
        if not std >= 0:
            raise ZooError(f"Scaling: std must not be negative, got {std}; 0.05 to 0.2 are usual")
        self.std, self.per = std, per

    def attach(self, module: ZooModule) -> None:
        self.add_batch_transform(module, self.transform)

    def transform(self, module: ZooModule, batch: Batch) -> Batch:
        """The batch with scaled inputs."""
        if self.std == 0:
            return batch
        x = require_series(self.name, batch)
        shape = (len(x), x.shape[2] if self.per == "channel" else 1)
        return scale(batch, 1 + self.std * torch.randn(shape, device=x.device, dtype=x.dtype))

    def no_effect_hint(self) -> str:
        return f"std is {self.std}; it has to be positive"
