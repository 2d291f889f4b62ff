"""A transformer block over the features of a table."""

from typing import cast

from torch import Tensor, nn

from zoo.layers.gate import Nonlinearity, make_nonlinearity, widening
from zoo.layers.quick_dropout import QuickDropout


class FeatureBlock(nn.Module):
    """x + attention(norm(x)), then x + W2 f(W1 norm(x)), where f may be a gate: (B, T, width) -> (B, T, width).

    Gorishniy et al., "Revisiting deep learning models for tabular data", 2021, section 3.3.

    Args:
        width: length of a token; a multiple of ``heads``.
        heads: of the attention.
        dropout: in [0, 1), of attention weights and of the hidden layer.
        activation: f; the hidden layer has 4/3 of the width behind it.
        first: leave out the norm before the attention, as the first block of a network does.
    """

    def __init__(self, width: int, heads: int, dropout: float, activation: Nonlinearity, first: bool) -> None:
        super().__init__()
        hidden = width * 4 // 3
        self.norm1: nn.Module = nn.Identity() if first else nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.expand = nn.Linear(width, widening(activation) * hidden)
        self.activation = make_nonlinearity(activation)
        self.dropout = QuickDropout(dropout)
        self.contract = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm1(x)
        x = x + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        hidden = self.activation(self.expand(self.norm2(x)))
        return x + cast(Tensor, self.contract(self.dropout(hidden)))
