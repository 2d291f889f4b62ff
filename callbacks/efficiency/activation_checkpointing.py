"""Activation checkpointing: keep the inputs of blocks alone and compute what is within them a second time."""

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from callbacks.technique import Technique, UnsupportedModule
from zoo.errors import ZooError
from zoo.layers.blocks import blocks
from zoo.module import SupervisedModule, ZooModule


class Recomputed:
    """The forward function of a block, of which the backward pass keeps the inputs and nothing else.

    What is within is computed again when its gradients are due, with the random numbers of the first time. Chen et al.,
    "Training deep nets with sublinear memory cost", 2016.
    """

    def __init__(self, block: nn.Module) -> None:
        self.block = block  # an object rather than a closure: a copy of the network must recompute its own blocks

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        forward = type(self.block).forward
        if self.block.training and torch.is_grad_enabled():
            return checkpoint(forward, self.block, *args, use_reentrant=False, **kwargs)
        return forward(self.block, *args, **kwargs)


class ActivationCheckpointing(Technique):
    """Trade a third more computation for the memory of all that blocks compute within; gradients stay the same.

    Of N blocks only their N inputs are kept, and the inside of the one whose gradients are being computed. Gradients
    are equal to the bit, dropout included.

    Args:
        every: 1 for every block, 2 for every second one, and so on: less memory saved, less computed twice.

    Raises:
        ZooError: every is less than 1.
        UnsupportedModule: in a fit, where the network has no ``blocks``, or batch norm in them, whose running
            statistics a second pass would move again.
    """

    supports = SupervisedModule

    def __init__(self, every: int = 1) -> None:
        if every < 1:
            raise ZooError(f"ActivationCheckpointing: every must be at least 1, got {every}")
        self.every = every
        self._changed: list[nn.Module] = []

    def attach(self, module: ZooModule) -> None:
        found = [*blocks(module).items()][:: self.every]
        if not found:
            raise UnsupportedModule(
                f"{self.name} recomputes blocks, and {type(module).__name__} has no list of layers called blocks; drop"
                f" {self.name} or choose a transformer"
            )
        for name, block in found:
            if any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in block.modules()):
                raise UnsupportedModule(
                    f"{self.name}: {name} has batch norm, whose running statistics a second pass would move again;"
                    f" choose another norm or drop {self.name}"
                )
        self._restore()
        for _, block in found:
            block.forward = Recomputed(block)
            self._changed.append(block)
        self.acted()

    def detach(self, module: ZooModule) -> None:
        super().detach(module)
        self._restore()

    def _restore(self) -> None:
        for block in self._changed:
            block.__dict__.pop("forward", None)
        self._changed = []
