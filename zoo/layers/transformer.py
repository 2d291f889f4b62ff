"""The transformer block, and the stack of them that all families share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, cast

import torch
from torch import Tensor, nn

from zoo.errors import ZooError
from zoo.layers.attention import Attention
from zoo.layers.dropout import DropPath, depth_rates
from zoo.layers.feed_forward import FeedForward
from zoo.layers.gate import Nonlinearity
from zoo.layers.kv_cache import BlockCache
from zoo.layers.position import AddedPosition, Position, Rotary, Turns

BlockNorm: TypeAlias = Literal["layer", "rms", "none"]
NormPlace: TypeAlias = Literal["pre", "post", "deep"]


@dataclass(frozen=True)
class BlockDesign:
    """How the blocks of a transformer are built; the defaults are those of GPT-2.

    Args:
        heads: of the attention; the width is a multiple.
        kv_heads: of keys and values, of which several queries share one; null for as many as heads.
        norm: "layer", "rms" (Zhang and Sennrich 2019), or "none", which only careful init schemes stand (T-Fixup).
        norm_place: "pre" normalises what a branch reads and trains without warm-up; "post" normalises the sum, as in
            Vaswani et al. 2017, and wants warm-up; "deep" is post with a shortcut that is scaled up by depth (Wang et
            al., "DeepNet", 2022), for the init scheme DeepNorm.
        activation: of the feed-forward layer: "gelu", "relu_squared", "swiglu" and others.
        expansion: hidden width of the feed-forward layer by width; a gate has two thirds of it.
        bias: whether linear layers and layer norms have one.
        qk_norm: normalise queries and keys, which keeps attention from collapsing at high learning rates.
        soft_cap: largest size of an attention score, 20 to 50; null for none.
        layer_scale: first value of a learned factor on each channel of a branch, 1e-6 to 0.1, for deep image models;
            null for none (Touvron et al., "Going deeper with image transformers", 2021).
    """

    heads: int = 4
    kv_heads: int | None = None
    norm: BlockNorm = "layer"
    norm_place: NormPlace = "pre"
    activation: Nonlinearity = "gelu"
    expansion: float = 4.0
    bias: bool = True
    qk_norm: bool = False
    soft_cap: float | None = None
    layer_scale: float | None = None

    def __post_init__(self) -> None:
        if self.norm == "none" and self.norm_place == "deep":
            raise ZooError("block: norm_place=deep scales shortcuts for a norm behind them; norm is none")
        if self.expansion <= 0:
            raise ZooError(f"block: expansion must be positive, got {self.expansion}")

    def make_norm(self, width: int) -> nn.Module:
        """A fresh norm of tokens."""
        match self.norm:
            case "layer":
                return nn.LayerNorm(width, bias=self.bias)
            case "rms":
                return nn.RMSNorm(width)
            case "none":
                return nn.Identity()


class Residual(nn.Module):
    """A branch beside its shortcut: x + f(norm(x)), or norm(alpha x + f(x)).

    Args:
        width: of a token.
        design: where the norm stands, and whether the branch is scaled.
        dropout: probability in [0, 1) on what the branch says.
        drop_path: probability in [0, 1) of leaving the branch out for a sample.
        alpha: factor of the shortcut, under ``norm_place="deep"``.
    """

    def __init__(self, width: int, design: BlockDesign, dropout: float, drop_path: float, alpha: float) -> None:
        super().__init__()
        self.norm = design.make_norm(width)
        self.pre, self.alpha = design.norm_place == "pre", alpha if design.norm_place == "deep" else 1.0
        self.scale = None if design.layer_scale is None else nn.Parameter(torch.full((width,), design.layer_scale))
        self.dropout, self.drop_path = nn.Dropout(dropout), DropPath(drop_path)

    def forward(self, x: Tensor, branch: Callable[[Tensor], Tensor]) -> Tensor:
        said = self.dropout(branch(self.norm(x) if self.pre else x))
        if self.scale is not None:
            said = said * self.scale
        said = self.drop_path(said)
        return x + said if self.pre else cast(Tensor, self.norm(self.alpha * x + said))


@dataclass
class Context:
    """What the blocks of a stack are told beside their input.

    Attributes:
        mask: bool, broadcast to (B, heads, T, T): which steps each may read; None for all.
        turns: rotary positions.
        memory: (B, S, width), what an encoder has said.
        memory_mask: bool, broadcast to (B, heads, T, S).
        caches: one for each block, when generating.
    """

    mask: Tensor | None = None
    turns: Turns | None = None
    memory: Tensor | None = None
    memory_mask: Tensor | None = None
    caches: Sequence[BlockCache] = field(default_factory=list)


class TransformerBlock(nn.Module):
    """Attention, attention to a memory if ``cross``, and a feed-forward layer, each beside its shortcut.

    Args:
        width: of a token.
        design: see BlockDesign.
        dropout: probability in [0, 1), of attention weights, of hidden units and of what a branch says.
        drop_path: probability in [0, 1) of leaving a branch out for a sample.
        causal: read no later step.
        cross: read a memory.
        alpha: factor of the shortcuts, under ``norm_place="deep"``.
    """

    def __init__(
        self,
        width: int,
        design: BlockDesign,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        causal: bool = False,
        cross: bool = False,
        alpha: float = 1.0,
    ) -> None:
        super().__init__()

        def attention() -> Attention:
            d = design
            return Attention(width, d.heads, d.kv_heads, dropout, d.bias, d.qk_norm, d.soft_cap)

        def residual() -> Residual:
            return Residual(width, design, dropout, drop_path, alpha)

        self.causal = causal
        self.attention, self.attention_residual = attention(), residual()
        self.cross_attention = attention() if cross else None
        self.cross_residual = residual() if cross else None
        self.feed_forward = FeedForward(width, design.expansion, design.activation, design.bias, dropout)
        self.feed_forward_residual = residual()

    def forward(self, x: Tensor, context: Context, cache: BlockCache | None = None) -> Tensor:
        c = context
        own, memory = (None, None) if cache is None else (cache.own, cache.memory)
        x = self.attention_residual(x, lambda x: self.attention(x, None, c.mask, self.causal, c.turns, own))
        if self.cross_attention is not None and self.cross_residual is not None:
            cross = self.cross_attention
            x = self.cross_residual(x, lambda x: cross(x, c.memory, c.memory_mask, cache=memory))
        return cast(Tensor, self.feed_forward_residual(x, self.feed_forward))

    def branches(self) -> dict[str, nn.Linear]:
        """The layers that a branch ends in, by name."""
        last = {"attention.out": self.attention.out, "feed_forward.contract": self.feed_forward.contract}
        return last if self.cross_attention is None else {**last, "cross_attention.out": self.cross_attention.out}


class Transformer(nn.Module):
    """Positions, blocks and a last norm: (B, T, width) -> (B, T, width).

    Args:
        width: of a token.
        layers: blocks.
        design: see BlockDesign.
        context: most steps.
        position: what tells steps apart: "learned" or "sinusoidal" vectors that are added, or "rotary" angles between
            queries and keys.
        dropout: see TransformerBlock; of the first tokens too.
        drop_path: of the last block; it grows from 0 at the first (Huang et al. 2016).
        causal, cross: see TransformerBlock.
        alpha: factor of the shortcuts under ``norm_place="deep"``; None is (2 layers)^(1/4), for a stack that stands
            alone (Wang et al. 2022, table 2 of the paper).
    """

    def __init__(
        self,
        width: int,
        layers: int,
        design: BlockDesign,
        context: int,
        position: Position = "learned",
        dropout: float = 0.0,
        drop_path: float = 0.0,
        causal: bool = False,
        cross: bool = False,
        alpha: float | None = None,
    ) -> None:
        super().__init__()
        if min(width, layers, context) < 1:
            raise ZooError(
                f"a transformer has a width, layers and a context of at least 1, got {width}, {layers} and {context}"
            )
        self.design, self.context, self.causal = design, context, causal
        alpha = (2 * layers) ** 0.25 if alpha is None else alpha
        self.added = AddedPosition(position, context, width) if position in ("learned", "sinusoidal") else None
        self.rotary = Rotary(context, width // design.heads) if position == "rotary" else None
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, design, dropout, rate, causal, cross, alpha)
            for rate in depth_rates(drop_path, layers)
        )
        self.norm = design.make_norm(width) if design.norm_place == "pre" else nn.Identity()

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        places: Tensor | None = None,
        memory: Tensor | None = None,
        memory_mask: Tensor | None = None,
        caches: Sequence[BlockCache] = (),
    ) -> Tensor:
        """Read tokens.

        Args:
            x: (B, T, width).
            mask: which steps may be read: bool (B, T), or (B, T, T) for each step; None for all.
            places: where each step stands, int64 (T,) or (B, T); by default one behind the other, from where the
                caches end.
            memory: (B, S, width), with ``cross``.
            memory_mask: which steps of it may be read, bool (B, S).
            caches: one for each block, see ``fresh_caches``.
        """
        x, context = self.begin(x, mask, places, memory, memory_mask, caches)
        for index, block in enumerate(self.blocks):
            x = block(x, context, context.caches[index] if context.caches else None)
        return cast(Tensor, self.norm(x))

    def begin(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        places: Tensor | None = None,
        memory: Tensor | None = None,
        memory_mask: Tensor | None = None,
        caches: Sequence[BlockCache] = (),
    ) -> tuple[Tensor, Context]:
        """What the first block reads; arguments as in ``forward``."""
        first = caches[0].steps if caches else 0
        if first + x.shape[1] > self.context:
            raise ZooError(
                f"the transformer was built for {self.context} steps, got {first + x.shape[1]}; shorten sequences or"
                " raise its context"
            )
        if places is None:
            places = torch.arange(first, first + x.shape[1], device=x.device)
        if self.added is not None:
            x = self.added(x, places)
        turns = self.rotary(places) if self.rotary is not None else None
        context = Context(_for_heads(mask), turns, memory, _for_heads(memory_mask), caches)
        return self.dropout(x), context

    def fresh_caches(self) -> list[BlockCache]:
        """Empty caches, one for each block, as ``forward`` takes them."""
        return [BlockCache(self.context) for _ in self.blocks]

    def branches(self) -> dict[str, nn.Linear]:
        """The layers that the branches of all blocks end in, by name."""
        return {
            f"blocks.{index}.{name}": layer
            for index, block in enumerate(self.blocks)
            for name, layer in cast(TransformerBlock, block).branches().items()
        }


def _for_heads(mask: Tensor | None) -> Tensor | None:
    """(B, S) or (B, T, S) with the dimensions that are missing, of heads and queries."""
    if mask is None:
        return None
    return mask[:, None, None] if mask.ndim == 2 else mask[:, None]
