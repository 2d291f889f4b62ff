"""What frozen layers need: parameters without gradients, and norms that keep their statistics."""

from collections.abc import Iterable

from torch import nn
from torch.nn.modules.batchnorm import _NormBase


class FrozenParts:
    """Remembers what it has changed, so that all of it can be undone.

    >>> layer, frozen = nn.Linear(2, 2), FrozenParts()
    >>> frozen.freeze(layer.parameters())
    >>> frozen.thaw(layer.parameters())
    >>> layer.weight.requires_grad
    True
    """

    def __init__(self) -> None:
        self._parameters: dict[int, nn.Parameter] = {}
        self._norms: dict[int, nn.Module] = {}

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What is frozen now."""
        return list(self._parameters.values())

    def freeze(self, parameters: Iterable[nn.Parameter], keep_gradients: bool = False) -> None:
        """Freeze those of the parameters that are trainable.

        Args:
            keep_gradients: let autograd compute their gradients all the same, for those who drop them later.
        """
        for parameter in parameters:
            if parameter.requires_grad:
                parameter.requires_grad_(keep_gradients)
                self._parameters[id(parameter)] = parameter

    def thaw(self, parameters: Iterable[nn.Parameter]) -> None:
        """Make trainable what ``freeze`` froze."""
        for parameter in parameters:
            if self._parameters.pop(id(parameter), None) is not None:
                parameter.requires_grad_(True)

    def hold_statistics(self, modules: Iterable[nn.Module]) -> None:
        """Put the norms with running statistics among ``modules`` into evaluation mode."""
        for module in modules:
            if isinstance(module, _NormBase) and module.track_running_stats and module.training:
                module.eval()
                self._norms[id(module)] = module

    def release_statistics(self, modules: Iterable[nn.Module]) -> None:
        """Put back into training mode what ``hold_statistics`` changed."""
        for module in modules:
            if self._norms.pop(id(module), None) is not None:
                module.train()

    def undo(self) -> None:
        """Leave everything as it was found."""
        self.thaw(self.parameters)
        self.release_statistics(list(self._norms.values()))
