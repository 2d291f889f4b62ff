"""What init schemes share: which layers they fill, and what they must not overwrite."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn

from callbacks.init.rules import fill_layer, weight_blocks
from callbacks.technique import NoEffect, Technique, UnsupportedModule
from zoo.errors import ZooError
from zoo.module import ZooModule


class InitScheme(Technique, ABC):
    """Base of all init schemes: a subclass says how one weight is filled, ``rules`` say which weights there are.

    A scheme runs once, in ``setup``: before the weights of a checkpoint are restored, which therefore win, and not
    again in a second ``fit``. Several schemes run in the order of their list; where two fill the same layer the later
    one wins, so name the broad scheme first and the one for a few layers last.

    Args:
        layers: a regular expression that is searched in the names of the layers; all layers when null.
        head_only: fill the module's ``head`` alone; what transfer learning needs.

    Raises:
        ZooError: ``layers`` is no regular expression; a pretrained weight would be overwritten.
        NoEffect: ``layers`` matches no layer that has weights.
        UnsupportedModule: ``head_only`` for a module without a ``head``.
    """

    def __init__(self, layers: str | None = None, head_only: bool = False) -> None:
        if layers is not None:
            try:
                re.compile(layers)
            except re.error as error:
                raise ZooError(f"{type(self).__name__}: layers={layers!r} is no regular expression: {error}") from error
        self.layers = layers
        self.head_only = head_only

    @property
    def name(self) -> str:
        # Two schemes of one class may fill different layers, so the filter is part of the key.
        filters = [self.layers] if self.layers is not None else []
        filters += ["head"] if self.head_only else []
        return f"{type(self).__name__}({', '.join(filters)})" if filters else type(self).__name__

    @abstractmethod
    def init_(self, weight: Tensor) -> None:
        """Fill one weight (out, in, *kernel) in place; fan_in = in * kernel size, fan_out = out * kernel size."""

    def attach(self, module: ZooModule) -> None:
        self.add_initializer(module, self.fill)

    def fill(self, module: ZooModule) -> None:
        """Fill the weights of the selected layers and set their biases to zero."""
        done: set[int] = set()
        for name, layer in self.select(module).items():
            try:
                fill_layer(layer, self.init_, done)
            except ZooError as error:
                raise ZooError(f"{self.name} cannot fill {name}: {error}") from error

    def select(self, module: ZooModule) -> dict[str, nn.Module]:
        """Layers with weights that pass the filters, by name."""
        return self.restrict(module, {name: m for name, m in module.named_modules() if weight_blocks(m)})

    def restrict(self, module: ZooModule, layers: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
        """Apply the filters to ``layers`` and refuse what holds pretrained weights."""
        chosen = dict(layers)
        if self.head_only:
            if "head" not in dict(module.named_children()):
                raise UnsupportedModule(
                    f"{self.name}: head_only asks for a layer called head, which {type(module).__name__} does not"
                    " have; use layers=<regular expression>"
                )
            chosen = {name: layer for name, layer in chosen.items() if _is_below(name, "head")}
        if self.layers is not None:
            matching = {name: layer for name, layer in chosen.items() if re.search(self.layers, name)}
            if not matching:
                known = [*chosen]
                some = ", ".join(known[:5] + (["..."] if len(known) > 5 else [])) or "no layers with weights"
                raise NoEffect(
                    f"{self.name}: layers={self.layers!r} matches nothing in {type(module).__name__}, which has: {some}"
                )
            chosen = matching
        for prefix in sorted(module.pretrained):
            covered = [name for name in chosen if _is_below(name, prefix)]
            if covered:
                raise ZooError(
                    f"{self.name} would overwrite the pretrained weights of {prefix} ({covered[0]},"
                    f" {len(covered)} layers in all); set head_only to true, or layers to a pattern that avoids them"
                )
        return chosen

    def no_effect_hint(self) -> str:
        return "it has no layers with weights that this scheme fills; drop it or choose another model"


def _is_below(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")
