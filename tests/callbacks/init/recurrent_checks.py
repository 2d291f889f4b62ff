"""What the tests of schemes for recurrent layers share."""

from torch import nn

from callbacks.init.scheme import InitScheme
from zoo.module import ZooModule


class Holder(ZooModule):
    """A module that is one layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer


def initialised(module: ZooModule, *schemes: InitScheme) -> ZooModule:
    """The module with the weights with which training would begin."""
    for scheme in schemes:
        scheme.attach(module)
    module.initialize()
    return module
