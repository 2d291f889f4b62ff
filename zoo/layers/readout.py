"""From the outputs of all steps to one vector a sequence; padding never takes part."""

from typing import Literal, TypeAlias, cast

import torch
from torch import Tensor, nn

from zoo.layers.padding import last_valid, padding_mask

Readout: TypeAlias = Literal["last", "mean", "max", "attention"]


def masked_mean(outputs: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Mean over the valid steps: (B, T, H) -> (B, H)."""
    if lengths is None:
        return outputs.mean(1)
    mask = padding_mask(lengths, outputs.shape[1])[..., None]
    return outputs.where(mask, 0).sum(1) / lengths[:, None]


def masked_max(outputs: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Largest value of each channel over the valid steps: (B, T, H) -> (B, H)."""
    if lengths is None:
        return outputs.amax(1)
    mask = padding_mask(lengths, outputs.shape[1])[..., None]
    return outputs.masked_fill(~mask, -torch.inf).amax(1)


def last_states(outputs: Tensor, lengths: Tensor | None = None, bidirectional: bool = False) -> Tensor:
    """What each direction put out last: at the last valid step, and backwards at the first. (B, T, H) -> (B, H)."""
    if not bidirectional:
        return last_valid(outputs, lengths)
    forwards, backwards = outputs.chunk(2, 2)
    return torch.cat([last_valid(forwards, lengths), backwards[:, 0]], 1)


class LastReadout(nn.Module):
    """``last_states`` as a layer."""

    def __init__(self, bidirectional: bool) -> None:
        super().__init__()
        self.bidirectional = bidirectional

    def forward(self, outputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        return last_states(outputs, lengths, self.bidirectional)


class MeanReadout(nn.Module):
    """``masked_mean`` as a layer."""

    def forward(self, outputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        return masked_mean(outputs, lengths)


class MaxReadout(nn.Module):
    """``masked_max`` as a layer."""

    def forward(self, outputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        return masked_max(outputs, lengths)


class AttentionReadout(nn.Module):
    """sum_t a_t h_t with a = softmax_t(v . tanh(W h_t + b)) over the valid steps: additive attention, one query.

    Sources: Bahdanau, Cho and Bengio, "Neural Machine Translation by Jointly Learning to Align and Translate", 2015,
    for the score; Yang et al., "Hierarchical Attention Networks for Document Classification", 2016, eq. 5 to 7, for a
    query that is learned.

    Args:
        width: H.
        attention_size: width of the score's hidden layer.
    """

    def __init__(self, width: int, attention_size: int = 64) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, attention_size)
        self.query = nn.Linear(attention_size, 1, bias=False)

    def weights(self, outputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Weight of each step, (B, T); adds up to 1, and is 0 where padded."""
        scores = cast(Tensor, self.query(self.hidden(outputs).tanh()))[..., 0]
        if lengths is not None:
            scores = scores.masked_fill(~padding_mask(lengths, outputs.shape[1]), -torch.inf)
        return scores.softmax(1)

    def forward(self, outputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, T, H) -> (B, H)."""
        return torch.einsum("bt,bth->bh", self.weights(outputs, lengths), outputs)


def make_readout(name: Readout, width: int, bidirectional: bool) -> nn.Module:
    """A fresh readout of outputs (B, T, width)."""
    match name:
        case "last":
            return LastReadout(bidirectional)
        case "mean":
            return MeanReadout()
        case "max":
            return MaxReadout()
        case "attention":
            return AttentionReadout(width)
