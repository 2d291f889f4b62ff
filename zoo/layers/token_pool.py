"""From the tokens that a transformer has said to one vector: a weighted mean, with weights that can be looked at."""

from abc import abstractmethod
from typing import Literal, TypeAlias, cast

import torch
from torch import Tensor, nn

TokenPooling: TypeAlias = Literal["class", "mean", "sequence"]


class TokenPool(nn.Module):
    """Base: sum_t a_t x_t over the tokens of a sample, (B, T, width) -> (B, width)."""

    @abstractmethod
    def weights(self, x: Tensor) -> Tensor:
        """a, (B, T); each row adds up to 1."""

    def forward(self, x: Tensor) -> Tensor:
        return (self.weights(x)[:, None] @ x)[:, 0]


class ClassPool(TokenPool):
    """The first token alone, which has read the others. Dosovitskiy et al. 2021, eq. 4."""

    def weights(self, x: Tensor) -> Tensor:
        return torch.eye(1, x.shape[1], dtype=x.dtype, device=x.device).expand(len(x), -1)

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]


class MeanPool(TokenPool):
    """The mean of all tokens."""

    def weights(self, x: Tensor) -> Tensor:
        return x.new_full(x.shape[:2], 1 / x.shape[1])

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


class SequencePool(TokenPool):
    """a = softmax_t(g x_t), where g is learned. Hassani et al. 2021, the section on sequence pooling.

    Args:
        width: of a token.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1)

    def weights(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.score(x))[..., 0].softmax(1)


def make_pool(name: TokenPooling, width: int) -> TokenPool:
    """A fresh pool of tokens (B, T, width)."""
    match name:
        case "class":
            return ClassPool()
        case "mean":
            return MeanPool()
        case "sequence":
            return SequencePool(width)
