"""Activation penalty: keep the outputs of chosen layers small or sparse."""

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from callbacks.regularizers.outputs import OutputPenalty, mean_over_steps

PNorm: TypeAlias = Literal["l1", "l2"]


def activation_size(outputs: list[Tensor], norm: PNorm = "l2", lengths: Tensor | None = None) -> Tensor:
    """Sum over layers of the mean of |a| (l1) or a^2 (l2) over all entries of the layer's output, a scalar.

    Merity et al., "Revisiting activation regularization for language RNNs", 2017, section 3, eq. for AR; the mean
    makes the strength independent of batch and width. Of outputs (B, T, C) the steps behind ``lengths`` do not count.
    """
    sizes = [mean_over_steps(out.abs() if norm == "l1" else out.square(), lengths) for out in outputs]
    return torch.stack(sizes).sum()


class ActivationPenalty(OutputPenalty):
    """Adds ``strength * activation_size(outputs of the chosen layers)`` to the training loss, through forward hooks.

    Args:
        strength: factor, positive; 1e-4 to 1e-1 with l1, up to 2 with l2 on recurrent networks.
        match: regular expression for names of submodules; ``^backbone$`` is what the head sees, ``^encoder$`` what
            recurrent layers put out.
        norm: "l2" keeps outputs small, "l1" makes them sparse.

    Raises:
        ZooError: a negative strength, or a match that is no regular expression.
        NoEffect: in a fit, when the strength is 0 or no submodule matches.
    """

    def __init__(self, strength: float = 1e-3, match: str = "^backbone$", norm: PNorm = "l2") -> None:
        super().__init__(strength, match)
        self.norm = norm

    def measure(self, outputs: list[Tensor], lengths: Tensor | None) -> Tensor:
        return activation_size(outputs, self.norm, lengths)
