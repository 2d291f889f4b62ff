"""Activation penalty: keep the outputs of chosen layers small or sparse."""

from typing import Any, Literal, TypeAlias

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from callbacks.regularizers.weights import compile_match
from callbacks.technique import NoEffect, Technique
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.module import SupervisedModule, ZooModule
from zoo.task import Output

PNorm: TypeAlias = Literal["l1", "l2"]


def activation_size(outputs: list[Tensor], norm: PNorm = "l2") -> Tensor:
    """Sum over layers of the mean of |a| (l1) or a^2 (l2) over all entries of the layer's output, a scalar.

    Merity et al., "Revisiting activation regularization for language RNNs", 2017, section 3, eq. for AR; the mean
    makes the strength independent of batch and width.
    """
    return torch.stack([(out.abs() if norm == "l1" else out.square()).mean() for out in outputs]).sum()


class ActivationPenalty(Technique):
    """Adds ``strength * activation_size(outputs of the chosen layers)`` to the training loss, through forward hooks.

    Args:
        strength: factor, positive; 1e-4 to 1e-1 with l1, up to 2 with l2 on recurrent networks.
        match: regular expression for names of submodules; ``^backbone$`` is what the head sees.
        norm: "l2" keeps outputs small, "l1" makes them sparse.

    Raises:
        ZooError: a negative strength, or a match that is no regular expression.
        NoEffect: in a fit, when the strength is 0 or no submodule matches.
    """

    supports = SupervisedModule

    def __init__(self, strength: float = 1e-3, match: str = "^backbone$", norm: PNorm = "l2") -> None:
        if strength < 0:
            raise ZooError(f"ActivationPenalty: strength must not be negative, got {strength}")
        self.strength, self.match, self.norm = strength, match, norm
        self._pattern = compile_match("ActivationPenalty", match)
        self._handles: list[RemovableHandle] = []
        self._outputs: list[Tensor] = []

    @property
    def name(self) -> str:
        return f"ActivationPenalty[{self.match}]"

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
        if not outputs:
            return output.loss.new_zeros(())
        return self.strength * activation_size(outputs, self.norm)
