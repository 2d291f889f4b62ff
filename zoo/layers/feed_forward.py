"""The layer that works on each token alone."""

from typing import cast

from torch import Tensor, nn

from zoo.layers.gate import Nonlinearity, make_nonlinearity, widening


class FeedForward(nn.Module):
    """W2 f(W1 x + b1) + b2, where f may be a gate: (..., width) -> (..., width).

    Vaswani et al., "Attention is all you need", 2017, eq. 2.

    Args:
        width: of a token.
        expansion: hidden width by width, usually 4. A gate has two thirds of it, so that the layer has as many
            parameters (Shazeer, "GLU variants improve transformer", 2020, section 3).
        activation: f.
        bias: whether the two layers have one.
        dropout: probability in [0, 1) behind f.
    """

    def __init__(self, width: int, expansion: float, activation: Nonlinearity, bias: bool, dropout: float) -> None:
        super().__init__()
        copies = widening(activation)
        hidden = round(width * expansion) if copies == 1 else 8 * round(width * expansion / 12)
        self.expand = nn.Linear(width, copies * hidden, bias)
        self.activation = make_nonlinearity(activation)
        self.dropout = nn.Dropout(dropout)
        self.contract = nn.Linear(hidden, width, bias)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.contract(self.dropout(self.activation(self.expand(x)))))
