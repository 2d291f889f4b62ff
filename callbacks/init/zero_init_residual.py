"""Zero-init of the last norm in residual blocks: every block starts as its shortcut."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from callbacks.init.scheme import InitScheme
from zoo.errors import ZooError
from zoo.module import ZooModule


@runtime_checkable
class HasLastNorms(Protocol):
    """A residual network that says which norm ends the branch of each block, by name."""

    @property
    def last_norms(self) -> dict[str, nn.Module]: ...


@torch.no_grad()
def zero_init_residual_(gain: Tensor) -> Tensor:
    """Set the gain of a norm to zero, so that shortcut(x) + gain * normalised(branch(x)) + 0 = shortcut(x).

    Goyal et al., "Accurate, large minibatch SGD: training ImageNet in 1 hour", 2017, section 5.1; He, T. et al., "Bag
    of tricks for image classification with convolutional neural networks", 2019, section 3.1, "Zero gamma".
    """
    return gain.zero_()


class ZeroInitResidual(InitScheme):
    """Start a residual network as a shallow one that grows into its depth. It goes together with any other scheme.

    Args:
        layers: a regular expression that is searched in the names of the norms, such as ``backbone.3.last_norm``;
            all residual blocks when null.
    """

    supports = HasLastNorms

    def __init__(self, layers: str | None = None) -> None:
        super().__init__(layers)

    def init_(self, weight: Tensor) -> None:
        zero_init_residual_(weight)

    def select(self, module: ZooModule) -> dict[str, nn.Module]:
        """The last norm of each residual block, by name."""
        assert isinstance(module, HasLastNorms)
        return self.restrict(module, module.last_norms)

    def fill(self, module: ZooModule) -> None:
        for name, norm in self.select(module).items():
            gain = dict(norm.named_parameters(recurse=False)).get("weight")
            if gain is None:
                raise ZooError(
                    f"{self.name}: {name} is {type(norm).__name__}, which has no gain to set to zero; choose a norm"
                    f" with a gain or drop {self.name}"
                )
            self.init_(gain)
