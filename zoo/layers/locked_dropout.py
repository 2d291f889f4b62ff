"""Dropout for sequences: what is left out stays out for all steps of a sequence."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.errors import ZooError


class LockedDropout(nn.Module):
    """Zero channels with probability p, the same at every step of a sequence, and divide the rest by 1 - p.

    A fresh mask at every step, as in nn.Dropout, adds noise that grows with the length of a sequence.

    Source: Gal and Ghahramani, "A Theoretically Grounded Application of Dropout in Recurrent Neural Networks", 2016.

    Args:
        p: probability in [0, 1); 0 changes nothing.
    """

    def __init__(self, p: float = 0.0) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ZooError(f"dropout must lie in [0, 1), got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        if self.p == 0 or not self.training:
            return x
        return x * F.dropout(x.new_ones(len(x), 1, x.shape[2]), self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class EmbeddingWithDropout(nn.Embedding):
    """An embedding that loses whole tokens of the vocabulary, each with probability p for the whole batch.

    Sources: Gal and Ghahramani 2016; Merity, Keskar and Socher, "Regularizing and Optimizing LSTM Language Models",
    2018.

    Args:
        num_embeddings: size of the vocabulary.
        embedding_dim: length of a token's vector.
        p: probability in [0, 1).
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, p: float = 0.0) -> None:
        super().__init__(num_embeddings, embedding_dim)
        if not 0 <= p < 1:
            raise ZooError(f"embedding dropout must lie in [0, 1), got {p}")
        self.p = p

    def forward(self, input: Tensor) -> Tensor:
        """int64 (B, T) -> (B, T, embedding_dim)."""
        embedded = super().forward(input)
        if self.p == 0 or not self.training:
            return embedded
        keep = F.dropout(torch.ones(self.num_embeddings, device=embedded.device, dtype=embedded.dtype), self.p)
        return embedded * keep[input][..., None]
