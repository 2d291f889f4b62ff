"""What layers that drop share, where a network has them, and drop-path, which leaves out whole residual branches."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from zoo.errors import ZooError


class DropoutLayer(nn.Module):
    """Base of the zoo's own dropouts: a rate, and the identity in evaluation and at rate 0.

    Args:
        p: the rate, a probability in [0, 1).

    Attributes:
        called: what a message calls the layer.
    """

    called: ClassVar[str] = "dropout"

    def __init__(self, p: float = 0.0) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ZooError(f"{self.called} probability must lie in [0, 1), got {p}")
        self.p = p

    def extra_repr(self) -> str:
        return f"p={self.p}"


def dropouts(module: nn.Module) -> list[tuple[nn.Module, str]]:
    """Every layer of ``module`` that drops while it trains, with the name of the attribute that holds its rate.

    Torch's dropouts, the zoo's own, and the attention and recurrent layers of torch, which drop within.
    """
    found: list[tuple[nn.Module, str]] = []
    for layer in module.modules():
        match layer:
            case DropoutLayer() | _DropoutNd():
                found.append((layer, "p"))
            case nn.MultiheadAttention() | nn.RNNBase():
                found.append((layer, "dropout"))
    return found


def keep_mask(x: Tensor, shape: tuple[int, ...], p: float) -> Tensor:
    """0 with probability p, else 1 / (1 - p): a random factor of expectation 1, in the precision of ``x``."""
    return (torch.rand(shape, device=x.device) >= p).to(x.dtype) / (1 - p)


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
    return x * keep_mask(x, (len(x), *[1] * (x.ndim - 1)), p)


class DropPath(DropoutLayer):
    """``drop_path`` as a layer.

    Args:
        p: probability of leaving a sample's branch out, in [0, 1).
    """

    called = "drop path"

    def forward(self, x: Tensor) -> Tensor:
        return drop_path(x, self.p, self.training)


def depth_rates(p: float, blocks: int) -> list[float]:
    """Rates that grow linearly with depth, from 0 in the first block to p in the last.

    The linear rule of Huang et al. 2016; a network of a single block drops it with the whole p.

    >>> depth_rates(0.2, 3)
    [0.0, 0.1, 0.2]
    """
    return [p * (1 - (blocks - 1 - block) / max(blocks - 1, 1)) for block in range(blocks)]
