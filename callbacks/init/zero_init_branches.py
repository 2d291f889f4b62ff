"""Zero-init of residual branches: a network of the transformer kind starts as its shortcuts."""

import torch
from torch import Tensor, nn

from callbacks.init.branches import HasBranches
from callbacks.init.scheme import InitScheme
from zoo.module import ZooModule


@torch.no_grad()
def zero_(weight: Tensor) -> Tensor:
    """W = 0 for the layer that ends a branch, so that x + W f(x) = x whatever f says.

    Zhang, Dauphin and Ma, "Fixup initialization: residual learning without normalization", 2019, the first of their
    rules; Bachlechner et al., "ReZero is all you need", 2020, reach the same by a factor that is learned.
    """
    return weight.zero_()


class ZeroInitBranches(InitScheme):
    """Start every residual branch of a transformer silent: the network begins shallow and grows into its depth.

    Only the layers in which branches end are touched, so it goes together with any other scheme that comes before it.

    Args:
        layers: a regular expression that is searched in the names of those layers, such as ``feed_forward.contract``;
            all of them when null.
    """

    supports = HasBranches

    def __init__(self, layers: str | None = None) -> None:
        super().__init__(layers)

    def init_(self, weight: Tensor) -> None:
        zero_(weight)

    def select(self, module: ZooModule) -> dict[str, nn.Module]:
        """The layers in which branches end, by name."""
        assert isinstance(module, HasBranches)
        return self.restrict(module, module.branches)
