"""Temporal activation regularisation: keep what a recurrent layer puts out from jumping between steps."""

import torch
from torch import Tensor

from callbacks.regularizers.outputs import OutputPenalty, mean_over_steps


def temporal_change(output: Tensor, lengths: Tensor | None = None) -> Tensor:
    """The mean of (h_{t+1} - h_t)^2 over sequences, pairs of neighbouring steps and features, a scalar.

    Merity, McCann and Socher, "Revisiting activation regularization for language RNNs", 2017, section 3, TAR; the mean
    makes the strength independent of batch, width and length.

    Args:
        output: (B, T, C), T at least 2; before any dropout, whose masks would count as jumps.
        lengths: valid steps, (B,); pairs with a padded step do not count. None where nothing is padded.
    """
    return mean_over_steps(output.diff(dim=1).square(), None if lengths is None else lengths - 1)


class TARPenalty(OutputPenalty):
    """Adds ``strength * temporal_change(output)``, summed over the chosen layers, to the training loss.

    Its companion AR, on the size of the same outputs, is ``ActivationPenalty`` with ``match: ^encoder$``.

    Args:
        strength: beta, positive; 0.5 to 2 for language models, less where targets follow the states directly.
        match: regular expression for names of submodules that put out (B, T, C), or (that, a state); ``^encoder$`` is
            the last recurrent layer before its dropout, ``encoder\\.layers\\.\\d+$`` is each of them.

    Raises:
        ZooError: a negative strength, or a match that is no regular expression.
        NoEffect: in a fit, when the strength is 0, no submodule matches, or none puts out two steps or more.
    """

    inputs = ("sequences", "tokens")

    def __init__(self, strength: float = 1.0, match: str = "^encoder$") -> None:
        super().__init__(strength, match)

    def measure(self, outputs: list[Tensor], lengths: Tensor | None) -> Tensor | None:
        sequences = [out for out in outputs if out.ndim == 3 and out.shape[1] > 1]
        return torch.stack([temporal_change(out, lengths) for out in sequences]).sum() if sequences else None

    def no_effect_hint(self) -> str:
        return f"what {self.match!r} matches puts out no sequences (B, T, C) of two steps or more; correct match"
