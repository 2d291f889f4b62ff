"""Attention of one sequence to itself or to another, with the switches that matter."""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.errors import ZooError
from zoo.layers.kv_cache import KVCache
from zoo.layers.position import Turns, rotate


class Attention(nn.Module):
    """softmax(Q K^T / sqrt(head_width)) V for each head: (B, T, width) -> (B, T, width).

    Vaswani et al., "Attention is all you need", 2017, eq. 1. Query, key and value are layers of their own, so that an
    optimizer or a partition over devices meets whole matrices. torch's fused kernels compute it, but where scores are
    capped.

    Args:
        width: of a token, a multiple of ``heads``.
        heads: of the queries.
        kv_heads: of keys and values, of which each serves ``heads / kv_heads`` queries; None is ``heads``. Ainslie et
            al., "GQA", 2023.
        dropout: probability in [0, 1) of losing an attention weight.
        bias: whether the four layers have one.
        qk_norm: RMS norm of every query and key, which bounds the scores. Henry et al., "Query-key normalization for
            transformers", 2020; Dehghani et al., "Scaling vision transformers to 22 billion parameters", 2023.
        soft_cap: scores s become ``soft_cap tanh(s / soft_cap)``; slower, because no fused kernel knows it. Gemma Team,
            "Gemma 2", 2024, section 2.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        kv_heads: int | None = None,
        dropout: float = 0.0,
        bias: bool = True,
        qk_norm: bool = False,
        soft_cap: float | None = None,
    ) -> None:
        super().__init__()
        kv_heads = heads if kv_heads is None else kv_heads
        if heads < 1 or width % heads:
            raise ZooError(f"attention: width must be a multiple of heads, got width={width} and heads={heads}")
        if kv_heads < 1 or heads % kv_heads:
            raise ZooError(f"attention: heads must be a multiple of kv_heads, got {heads} and {kv_heads}")
        if soft_cap is not None and soft_cap <= 0:
            raise ZooError(f"attention: soft_cap must be positive, got {soft_cap}")
        self.head_width = width // heads
        self.grouped, self.soft_cap = kv_heads != heads, soft_cap
        self.query = nn.Linear(width, width, bias)
        self.key = nn.Linear(width, kv_heads * self.head_width, bias)
        self.value = nn.Linear(width, kv_heads * self.head_width, bias)
        self.query_norm = nn.RMSNorm(self.head_width) if qk_norm else nn.Identity()
        self.key_norm = nn.RMSNorm(self.head_width) if qk_norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)  # its rate; the kernel draws
        self.out = nn.Linear(width, width, bias)

    def forward(
        self,
        x: Tensor,
        memory: Tensor | None = None,
        mask: Tensor | None = None,
        causal: bool = False,
        turns: Turns | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Read a sequence.

        Args:
            x: (B, T, width), what asks.
            memory: (B, S, width), what is asked; None is x itself.
            mask: bool, broadcast to (B, heads, T, S): which steps of the memory each step may read, at least one.
            causal: read no step behind one's own.
            turns: rotary positions of x.
            cache: steps that were read before, to which those of x are added; or a memory, from its first reading on.
        """
        query = self._queries(x, turns)
        if memory is not None and cache is not None and cache.steps:
            key, value = cache.read()
        else:
            key, value = self._keys_values(x if memory is None else memory, turns)
            if cache is not None:
                key, value = cache.append(key, value)
        mask, causal = _one_mask(mask, causal, query.shape[2], key.shape[2], x.device)
        dropout = self.dropout.p if self.training else 0.0
        if self.soft_cap is None:
            read = F.scaled_dot_product_attention(query, key, value, mask, dropout, causal, enable_gqa=self.grouped)
        else:
            weights = F.dropout(self._weights(query, key, mask, causal), dropout)
            read = weights @ self._for_each_query(value, query)
        return cast(Tensor, self.out(read.transpose(1, 2).flatten(2)))

    def weights(
        self,
        x: Tensor,
        memory: Tensor | None = None,
        mask: Tensor | None = None,
        causal: bool = False,
        turns: Turns | None = None,
    ) -> Tensor:
        """How much of each step is read: (B, heads, T, S), whose rows add up to 1; arguments as in ``forward``."""
        query, (key, _) = self._queries(x, turns), self._keys_values(x if memory is None else memory, turns)
        return self._weights(query, key, *_one_mask(mask, causal, query.shape[2], key.shape[2], x.device))

    def _queries(self, x: Tensor, turns: Turns | None) -> Tensor:
        query = cast(Tensor, self.query_norm(self._heads(self.query(x))))
        return query if turns is None else rotate(query, turns)

    def _keys_values(self, x: Tensor, turns: Turns | None) -> tuple[Tensor, Tensor]:
        key = self.key_norm(self._heads(self.key(x)))
        return key if turns is None else rotate(key, turns), self._heads(self.value(x))

    def _heads(self, x: Tensor) -> Tensor:
        # How many there are is left open: a process that holds a part of the layer holds a part of them.
        return x.unflatten(2, (-1, self.head_width)).transpose(1, 2)

    def _weights(self, query: Tensor, key: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
        scores = query @ self._for_each_query(key, query).transpose(2, 3) / math.sqrt(self.head_width)
        if self.soft_cap is not None:
            scores = self.soft_cap * (scores / self.soft_cap).tanh()
        if causal:
            mask = _causal_mask(query.shape[2], key.shape[2], query.device)
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        return scores.softmax(3)

    def _for_each_query(self, x: Tensor, query: Tensor) -> Tensor:
        return x.repeat_interleave(query.shape[1] // x.shape[1], 1) if self.grouped else x


def _one_mask(
    mask: Tensor | None, causal: bool, queries: int, keys: int, device: torch.device
) -> tuple[Tensor | None, bool]:
    """A mask, or that it is causal from the first step on, which kernels know without one."""
    if not causal or queries == 1:  # a single step is the last of those that were read
        return mask, False
    if mask is None and queries == keys:
        return None, True
    later = _causal_mask(queries, keys, device)
    return (later if mask is None else mask & later), False


def _causal_mask(queries: int, keys: int, device: torch.device) -> Tensor:
    """Which steps each query may read, bool (T, S), where the queries are the last of the S steps."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)
