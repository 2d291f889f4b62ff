"""Drop-path: leave out whole residual branches."""

import torch
from torch import Tensor, nn

from zoo.errors import ZooError


def drop_path(x: Tensor, p: float, training: bool) -> Tensor:
    """Zero each sample's branch with probability p and divide the rest by 1 - p; identity when p is 0.

    Huang et al., "Deep networks with stochastic depth", 2016, eq. 2, with the scaling moved to training.

    Args:
        x: branch of a residual block, (B, ...).
        p: probability of leaving a sample's branch out, in [0, 1).
        training: whether to drop at all.
    """
    if p == 0 or not training:
        return x
    keep = torch.rand(x.shape[0], *[1] * (x.ndim - 1), device=x.device, dtype=x.dtype) >= p
    return x * keep / (1 - p)


class DropPath(nn.Module):
    """``drop_path`` as a layer.

    Args:
        p: probability of leaving a sample's branch out, in [0, 1).
    """

    def __init__(self, p: float = 0.0) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ZooError(f"drop path probability must lie in [0, 1), got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return drop_path(x, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"
