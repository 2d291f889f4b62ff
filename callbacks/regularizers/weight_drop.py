"""DropConnect on state-to-state weights: recurrent layers forget connections for a batch, and keep fused kernels."""

import warnings
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from callbacks.regularizers.weights import compile_match
from callbacks.technique import NoEffect, Technique, UnsupportedModule
from zoo.errors import ZooError
from zoo.layers.dropout import keep_mask
from zoo.module import ZooModule


def weight_drop(weight: Tensor, mask: Tensor) -> Tensor:
    """M * W: W_hh without the connections that the mask leaves out; those that stay are divided by 1 - p.

    Wan et al., "Regularization of neural networks using DropConnect", 2013, on the weights between states as in Merity,
    Keskar and Socher, "Regularizing and optimizing LSTM language models", 2018, section 2.

    Args:
        weight: (G H, H), or (G H, P) of an LSTM with projected states.
        mask: of the same shape, 0 with probability p, else 1 / (1 - p).
    """
    return weight * mask


class WeightDrop(Technique):
    """Leave out a share p of each recurrent layer's state-to-state weights, the same ones at all steps of a batch.

    One mask is drawn for each layer, direction and batch. The parameters themselves are not touched: the layer's call
    gets the masked product in their place, so that its kernel is the fused one, a checkpoint is that of the plain
    network, and evaluation uses the whole weights.

    Args:
        p: probability in [0, 1) of leaving a weight out; 0.2 to 0.5. 0 changes nothing.
        match: regular expression for names of recurrent layers, such as ``encoder.layers.0``; empty for all.

    Raises:
        ZooError: a probability out of range, or a match that is no regular expression.
        NoEffect: in a fit, when ``p`` is 0 or no recurrent layer matches.
        UnsupportedModule: in a fit, for a network without torch's recurrent layers.
    """

    inputs = ("sequences", "tokens")

    def __init__(self, p: float = 0.5, match: str = "") -> None:
        if not 0 <= p < 1:
            raise ZooError(f"WeightDrop: p is a probability in [0, 1), got {p}; 0.2 to 0.5 are usual")
        self.p, self.match = p, match
        self._pattern = compile_match("WeightDrop", match)
        self._layers: list[nn.RNNBase] = []
        self._handles: list[RemovableHandle] = []
        self._masks: dict[tuple[nn.Module, int], Tensor] = {}

    def attach(self, module: ZooModule) -> None:
        layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, nn.RNNBase)}
        if not layers:
            raise UnsupportedModule(
                f"WeightDrop does not support {type(module).__name__}: it has no LSTM, GRU or RNN; drop WeightDrop or"
                " choose a recurrent network"
            )
        if self.p == 0:
            raise NoEffect("WeightDrop: p is 0, which changes nothing; raise it or drop WeightDrop")
        self._remove_hooks()
        self._layers = [layer for name, layer in layers.items() if self._pattern.search(name)]
        if not self._layers:
            raise NoEffect(
                f"WeightDrop: no recurrent layer has a name with {self.match!r} in it; correct match (there are:"
                f" {', '.join(layers)})"
            )
        for layer in self._layers:
            self._handles += [
                layer.register_forward_pre_hook(self._drop),
                layer.register_forward_hook(self._restore, always_call=True),
            ]
        # cuDNN copies weights that do not lie side by side, which costs little beside the steps.
        warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._masks.clear()  # drawn when they are needed: this hook runs before the step is seeded

    def detach(self, module: ZooModule) -> None:
        super().detach(module)
        self._remove_hooks()

    def _remove_hooks(self) -> None:
        for handle in self._handles:
            handle.remove()
        for layer in self._layers:
            self._restore(layer)
        self._layers, self._handles = [], []
        self._masks.clear()

    def _drop(self, layer: nn.RNNBase, inputs: Any) -> None:
        # What is looked at without gradients in between, to choose samples or for statistics, sees the whole network.
        if not layer.training or not torch.is_grad_enabled():
            return
        for place, name in _state_weights(layer):
            weight: Tensor = getattr(layer, name)
            mask = self._masks.get((layer, place))
            if mask is None:
                mask = self._masks[layer, place] = keep_mask(weight, tuple(weight.shape), self.p)
            layer._flat_weights[place] = weight_drop(weight, mask)
        self.acted()

    def _restore(self, layer: nn.RNNBase, *_: Any) -> None:
        for place, name in _state_weights(layer):
            layer._flat_weights[place] = getattr(layer, name)


def _state_weights(layer: nn.RNNBase) -> list[tuple[int, str]]:
    """Where the state-to-state weights stand in the list that a layer hands to its kernel, and their names."""
    return [(place, name) for place, name in enumerate(layer._flat_weights_names) if name.startswith("weight_hh")]
