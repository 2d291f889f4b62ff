"""DeepNorm's init: small branches beside scaled-up shortcuts, so that post-norm transformers of any depth train."""

import math

import torch
from torch import Tensor, nn

from callbacks.init.branches import HasBranches
from callbacks.init.rules import assign
from callbacks.init.scheme import InitScheme
from callbacks.init.stacks import blocks, scaled_layers, stacks
from callbacks.technique import UnsupportedModule
from zoo.module import ZooModule


def deep_norm_gain(alpha: float) -> float:
    """beta = 1 / (sqrt(2) alpha), the gain of a block whose shortcuts are multiplied by alpha.

    Wang et al., "DeepNet: scaling transformers to 1,000 layers", 2022, list pairs: N layers that stand alone have
    alpha = (2 N)^(1/4) and beta = (8 N)^(-1/4), M layers of a decoder behind an encoder (3 M)^(1/4) and (12 M)^(-1/4),
    the N layers of that encoder 0.81 (N^4 M)^(1/16) and 0.87 (N^4 M)^(-1/16). The product is 1 / sqrt(2) in each case,
    of the last but for rounding.
    """
    return 1 / (math.sqrt(2) * alpha)


@torch.no_grad()
def deep_norm_(weight: Tensor, gain: float = 1.0) -> Tensor:
    """Fill with Xavier's normal distribution times ``gain``: N(0, 2 gain^2 / (fan_in + fan_out))."""
    return nn.init.xavier_normal_(weight, gain)


class DeepNorm(InitScheme):
    """Fill the blocks of a transformer with ``norm_place="deep"`` as their shortcuts want it.

    Values, outputs and feed-forward layers get Xavier's normal distribution times beta (see ``deep_norm_gain``), which
    is read from each block's own alpha; queries and keys get it plain. Embeddings and the head stay as they are.

    Args:
        layers: see InitScheme.

    Raises:
        UnsupportedModule: in a fit, where no stack of blocks has ``norm_place="deep"``.
    """

    supports = HasBranches

    def __init__(self, layers: str | None = None) -> None:
        super().__init__(layers)

    def init_(self, weight: Tensor) -> None:
        deep_norm_(weight)

    def select(self, module: ZooModule) -> dict[str, nn.Module]:
        """The linear layers of all blocks, by name."""
        deep = {name: stack for name, stack in stacks(module).items() if stack.design.norm_place == "deep"}
        if not deep:
            raise UnsupportedModule(
                f"{self.name} is made for shortcuts that are scaled up, and {type(module).__name__} has none; use"
                f" --model.block.norm_place deep, or drop {self.name}"
            )
        inner = {
            f"{name}.blocks.{part}": layer
            for name, stack in deep.items()
            for part, layer in stack.blocks.named_modules()
            if isinstance(layer, nn.Linear)
        }
        return self.restrict(module, inner)

    @torch.no_grad()
    def fill(self, module: ZooModule) -> None:
        super().fill(module)
        chosen = {id(layer) for layer in self.select(module).values()}
        for stack in stacks(module).values():
            for block in blocks(stack):
                gain = deep_norm_gain(block.attention_residual.alpha)
                for layer in scaled_layers(block):
                    if id(layer) in chosen:
                        assign(layer, "weight", layer.weight * gain)
