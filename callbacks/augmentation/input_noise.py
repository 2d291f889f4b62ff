"""Gaussian noise on the inputs: the oldest augmentation."""

import torch
from torch import Tensor

from callbacks.technique import Technique, UnsupportedModule
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.module import SupervisedModule, ZooModule


def add_noise(x: Tensor, std: float) -> Tensor:
    """x + std * e with e ~ N(0, 1) for each number; drawn on the device of ``x``."""
    return x + std * torch.randn_like(x)


class InputNoise(Technique):
    """Add Gaussian noise to the inputs of each training batch.

    For small noise and a squared error this is a penalty on the network's slope, std^2 times the mean squared
    Jacobian. Bishop, "Training with noise is equivalent to Tikhonov regularization", 1995.

    Args:
        std: standard deviation, in the units that the network sees (normalised inputs); 0 changes nothing.
    """

    supports = SupervisedModule

    def __init__(self, std: float = 0.1) -> None:
        if not std >= 0:
            raise ZooError(f"InputNoise: std must not be negative, got {std}; 0.01 to 0.3 are usual")
        self.std = std

    def attach(self, module: ZooModule) -> None:
        self.add_batch_transform(module, self.transform)

    def transform(self, module: ZooModule, batch: Batch) -> Batch:
        """The batch with noisy inputs."""
        if self.std == 0:
            return batch
        if not isinstance(batch.x, Tensor) or not batch.x.is_floating_point():
            kind = batch.x.dtype if isinstance(batch.x, Tensor) else type(batch.x).__name__
            raise UnsupportedModule(f"InputNoise needs inputs that are one tensor of floats, got {kind}; drop it")
        return batch._replace(x=add_noise(batch.x, self.std))

    def no_effect_hint(self) -> str:
        return f"std is {self.std}; it has to be positive"
