"""T-Fixup: an init with which a transformer trains without norms and without warm-up."""

import torch
from torch import Tensor, nn

from callbacks.init.branches import HasBranches
from callbacks.init.rules import assign
from callbacks.init.scheme import InitScheme
from callbacks.init.stacks import blocks, scaled_layers, stacks
from callbacks.technique import UnsupportedModule
from zoo.module import ZooModule


def t_fixup_gain(layers: int, cross: bool) -> float:
    """0.67 N^(-1/4) for N layers of two branches, (9 N)^(-1/4) for N layers of a decoder, which have three.

    Huang, Perez, Ba and Volkovs, "Improving transformer optimization through better initialization", 2020. The
    paper treats an encoder and a decoder that reads from it; a stack that stands alone has the branches of the encoder.

    Args:
        layers: N, blocks of the stack.
        cross: whether they read a memory.
    """
    return (9 * layers) ** -0.25 if cross else 0.67 * layers**-0.25


@torch.no_grad()
def t_fixup_embedding_(weight: Tensor, gain: float) -> Tensor:
    """Fill an embedding (tokens, width) with N(0, gain^2 / width)."""
    return nn.init.normal_(weight, std=gain * weight.shape[1] ** -0.5)


class TFixup(InitScheme):
    """Fill a transformer with ``norm="none"`` so that no step moves its output too far.

    Linear layers get Xavier's uniform distribution, in blocks values, outputs and feed-forward layers times the gain
    (see ``t_fixup_gain``); embeddings get N(0, gain^2 / width), the gain being that of the last stack, and so does a
    head that shares their weight.

    Args:
        layers: see InitScheme.

    Raises:
        UnsupportedModule: in a fit, where blocks have norms: they would undo the scaling.
    """

    supports = HasBranches

    def __init__(self, layers: str | None = None) -> None:
        super().__init__(layers)

    def attach(self, module: ZooModule) -> None:
        found = stacks(module).values()
        if not found or any(stack.design.norm != "none" for stack in found):
            raise UnsupportedModule(
                f"{self.name} replaces the norms of a transformer, and {type(module).__name__} has some; use"
                f" --model.block.norm none, or drop {self.name}"
            )
        super().attach(module)

    def init_(self, weight: Tensor) -> None:
        nn.init.xavier_uniform_(weight)

    @torch.no_grad()
    def fill(self, module: ZooModule) -> None:
        super().fill(module)
        chosen, gain = self.select(module), 1.0
        ids = {id(layer) for layer in chosen.values()}
        for stack in stacks(module).values():
            inner = blocks(stack)
            gain = t_fixup_gain(len(inner), inner[0].cross_attention is not None)
            for linear in [linear for block in inner for linear in scaled_layers(block) if id(linear) in ids]:
                assign(linear, "weight", linear.weight * gain)
        for layer in chosen.values():
            if isinstance(layer, nn.Embedding):
                assign(layer, "weight", t_fixup_embedding_(torch.empty_like(layer.weight), gain))
