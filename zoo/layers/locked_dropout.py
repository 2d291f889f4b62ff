"""Locked (variational) dropout: one mask for all steps of a sequence."""

from torch import Tensor

from zoo.layers.dropout import DropoutLayer, keep_mask


class LockedDropout(DropoutLayer):
    """Zero features of a sequence (B, T, C), the same ones at each of its steps, and divide the rest by 1 - p.

    Gal and Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks", 2016: a mask
    that changes from step to step is noise that a recurrent network adds up.

    Args:
        p: probability in [0, 1) of leaving a feature of a sequence out.
    """

    called = "locked dropout"

    def forward(self, x: Tensor) -> Tensor:
        if self.p == 0 or not self.training:
            return x
        batch, _, features = x.shape
        return x * keep_mask(x, (batch, 1, features), self.p)
