"""The base of the penalties on what chosen layers put out, and means over the steps that are not padding."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from callbacks.regularizers.weights import compile_match
from callbacks.technique import NoEffect, Technique
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.layers.padding import padding_mask
from zoo.module import SupervisedModule, ZooModule
from zoo.task import Output


class OutputPenalty(Technique, ABC):
    """Adds ``strength * measure(outputs of the chosen layers)`` to the training loss, through forward hooks.

    Args:
        strength: factor on the penalty, positive.
        match: regular expression for names of submodules.

    Raises:
        ZooError: a negative strength, or a match that is no regular expression.
        NoEffect: in a fit, when the strength is 0 or no submodule matches.
    """

    supports = SupervisedModule

    def __init__(self, strength: float, match: str) -> None:
        if strength < 0:
            raise ZooError(f"{type(self).__name__}: strength must not be negative, got {strength}")
        self.strength, self.match = strength, match
        self._pattern = compile_match(type(self).__name__, match)
        self._handles: list[RemovableHandle] = []
        self._outputs: list[Tensor] = []

    @property
    def name(self) -> str:
        return f"{type(self).__name__}[{self.match}]"

    @abstractmethod
    def measure(self, outputs: list[Tensor], lengths: Tensor | None) -> Tensor | None:
        """The penalty at strength 1, a scalar; None where it has nothing to say about these outputs.

        Args:
            outputs: of the chosen layers, in the order in which they ran; at least one.
            lengths: valid steps of each sequence of the batch, (B,); None where nothing is padded.
        """

    def attach(self, module: ZooModule) -> None:
        if self.strength == 0:
            raise NoEffect(f"{self.name}: strength is 0, which changes nothing; raise it or drop it")
        layers = [layer for name, layer in module.named_modules() if name and self._pattern.search(name)]
        if not layers:
            names = ", ".join(name for name, _ in module.named_children())
            raise NoEffect(
                f"{self.name}: no submodule of {type(module).__name__} has a name with {self.match!r} in it; correct"
                f" match (its submodules: {names}, and what is in them)"
            )
        self._remove_hooks()
        self._handles = [layer.register_forward_hook(self._keep) for layer in layers]
        self.add_penalty(module, self._penalty)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._outputs.clear()  # of forward passes outside of the training step

    def detach(self, module: ZooModule) -> None:
        super().detach(module)
        self._remove_hooks()

    def _remove_hooks(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles, self._outputs = [], []

    def _keep(self, layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if layer.training and torch.is_grad_enabled():
            # Recurrent layers put out (outputs, state).
            first = output[0] if isinstance(output, tuple) else output
            self._outputs.append(first)

    def _penalty(self, module: ZooModule, batch: Batch, output: Output) -> Tensor:
        outputs, self._outputs = self._outputs, []
        measured = self.measure(outputs, batch.lengths) if outputs else None
        return output.loss.new_zeros(()) if measured is None else self.strength * measured


def mean_over_steps(values: Tensor, lengths: Tensor | None) -> Tensor:
    """The mean of all entries but those of padded steps, a scalar.

    Args:
        values: (B, T, C) of sequences; of any other shape, or without lengths, all entries count.
        lengths: valid steps, (B,), not negative; None where nothing is padded.
    """
    if lengths is None or values.ndim != 3 or len(values) != len(lengths):
        return values.mean()
    valid = padding_mask(lengths, values.shape[1])[..., None]
    return values.masked_fill(~valid, 0).sum() / (lengths.sum().clamp(min=1) * values.shape[2])
