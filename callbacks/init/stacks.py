"""What init schemes for deep transformers share: the blocks of each stack, and which of their weights are scaled."""

from torch import nn

from zoo.layers.attention import Attention
from zoo.layers.transformer import Transformer, TransformerBlock
from zoo.module import ZooModule


def stacks(module: ZooModule) -> dict[str, Transformer]:
    """The stacks of transformer blocks in a network, by name."""
    return {name: part for name, part in module.named_modules() if isinstance(part, Transformer)}


def blocks(stack: Transformer) -> list[TransformerBlock]:
    """The blocks of a stack from the first to the last."""
    return [block for block in stack.blocks if isinstance(block, TransformerBlock)]


def scaled_layers(block: TransformerBlock) -> list[nn.Linear]:
    """The layers on whose size the update of a block depends: values, outputs and both of the feed-forward layer.

    Queries and keys are not among them: a softmax stands behind.
    """
    attentions = [layer for layer in (block.attention, block.cross_attention) if isinstance(layer, Attention)]
    of_attention = [linear for layer in attentions for linear in (layer.value, layer.out)]
    return [*of_attention, block.feed_forward.expand, block.feed_forward.contract]
