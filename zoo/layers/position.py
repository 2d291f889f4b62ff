"""Where a token stands: vectors that are added to it, or angles that queries and keys are turned by."""

from typing import Literal, NamedTuple, TypeAlias, cast

import torch
from torch import Tensor, nn

from zoo.errors import ZooError

Position: TypeAlias = Literal["learned", "sinusoidal", "rotary", "none"]
_BASE = 10_000.0


def angles(steps: int, width: int) -> Tensor:
    """t / 10000^(2i / width) for each step t and each pair i of numbers, (steps, width / 2)."""
    if width % 2:
        raise ZooError(f"sinusoidal and rotary positions turn pairs of numbers and need an even width, got {width}")
    frequencies = _BASE ** (-torch.arange(0, width, 2).double() / width)
    return (torch.arange(steps)[:, None] * frequencies).float()


def sinusoids(steps: int, width: int) -> Tensor:
    """Sine and cosine of each angle beside each other, (steps, width).

    Vaswani et al., "Attention is all you need", 2017, section 3.5.
    """
    turned = angles(steps, width)
    return torch.stack([turned.sin(), turned.cos()], 2).flatten(1)


class Turns(NamedTuple):
    """Cosine and sine of the angles of some steps: (T, head_width / 2), or (B, 1, T, head_width / 2) for each row."""

    cos: Tensor
    sin: Tensor


def rotate(x: Tensor, turns: Turns) -> Tensor:
    """Turn the pair (x_i, x_{i + head_width / 2}) of every step by its angle; x is (B, heads, T, head_width).

    The product of a query and a key then depends on how far apart they stand and not on where. Su et al., "RoFormer:
    enhanced transformer with rotary position embedding", 2021, eq. 34; which numbers make a pair is a matter of order.
    """
    first, second = x.chunk(2, -1)
    cos, sin = turns.cos.to(x.dtype), turns.sin.to(x.dtype)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], -1)


class AddedPosition(nn.Module):
    """x_t + p_t, where p is learned, or the sinusoids.

    Args:
        kind: which.
        context: most steps.
        width: of a token.
    """

    def __init__(self, kind: Literal["learned", "sinusoidal"], context: int, width: int) -> None:
        super().__init__()
        if kind == "learned":
            self.table = nn.Parameter(torch.empty(context, width).normal_(std=0.02))
        else:
            self.register_buffer("table", sinusoids(context, width), persistent=False)

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        """x (B, T, width); places int64 (T,), or (B, T)."""
        return x + cast(Tensor, self.table)[places]


class Rotary(nn.Module):
    """The turns of each step, for ``rotate``.

    Args:
        context: most steps.
        head_width: numbers in a query, even.
    """

    def __init__(self, context: int, head_width: int) -> None:
        super().__init__()
        turned = angles(context, head_width)
        self.register_buffer("cos", turned.cos(), persistent=False)
        self.register_buffer("sin", turned.sin(), persistent=False)

    def forward(self, places: Tensor) -> Turns:
        """places int64 (T,), or (B, T), where each row has its own."""
        cos, sin = cast(Tensor, self.cos)[places], cast(Tensor, self.sin)[places]
        return Turns(cos, sin) if places.ndim == 1 else Turns(cos[:, None], sin[:, None])
