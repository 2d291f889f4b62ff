"""Freezing: keep chosen layers as they are."""

import re

from lightning.pytorch import LightningModule, Trainer
from torch import nn

from callbacks.finetuning.frozen import FrozenParts
from callbacks.technique import NoEffect, Technique
from zoo.errors import ZooError
from zoo.module import Frozen, ZooModule


def matching_modules(network: nn.Module, pattern: re.Pattern[str]) -> dict[str, nn.Module]:
    """Submodules whose name contains ``pattern``, and everything within them."""
    found: dict[str, nn.Module] = {}
    for name, module in network.named_modules():
        if name and pattern.search(name):
            found |= {f"{name}.{inner}" if inner else name: m for inner, m in module.named_modules()}
    return found


class Freeze(Technique):
    """Trains everything but the submodules whose name matches; for weights that were learnt elsewhere.

    The frozen parameters get no gradient and no optimizer state. After the fit they are trainable again.

    Args:
        match: regular expression for names of submodules, such as ``^backbone$`` or ``^backbone\\.[0-4]\\b``.
        hold_statistics: keep the running statistics of frozen norms, as evaluation does; otherwise they go on to
            follow the data while their weights do not.

    Raises:
        ZooError: a match that is no regular expression, or that leaves nothing to train.
        NoEffect: in a fit, when nothing trainable matches.
    """

    def __init__(self, match: str = "^backbone$", hold_statistics: bool = True) -> None:
        try:
            self._pattern = re.compile(match)
        except re.error as error:
            raise ZooError(f"Freeze: match={match!r} is no regular expression: {error}") from None
        self.match, self.hold_statistics = match, hold_statistics
        self._frozen = FrozenParts()

    @property
    def name(self) -> str:
        return f"Freeze[{self.match}]"

    def attach(self, module: ZooModule) -> None:
        self._frozen.undo()
        chosen = matching_modules(module, self._pattern)
        parameters = [p for m in chosen.values() for p in m.parameters(recurse=False) if p.requires_grad]
        if not parameters:
            names = ", ".join(name for name, _ in module.named_children())
            raise NoEffect(
                f"{self.name}: no trainable submodule of {type(module).__name__} has a name with {self.match!r} in it;"
                f" correct match (its submodules: {names}, and what is in them)"
            )
        frozen = {id(p) for p in parameters}
        if all(id(p) in frozen for p in module.parameters() if p.requires_grad):
            raise ZooError(
                f"{self.name}: that is every trainable parameter of {type(module).__name__}; leave out the head"
            )
        self._frozen.freeze(parameters)
        module.frozen[self.name] = Frozen([name for name, p in module.named_parameters() if id(p) in frozen])
        self.acted()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._hold(pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._hold(pl_module)  # again, for whoever called train() in between

    def detach(self, module: ZooModule) -> None:
        super().detach(module)
        self._frozen.undo()

    def _hold(self, module: nn.Module) -> None:
        if self.hold_statistics:
            self._frozen.hold_statistics(matching_modules(module, self._pattern).values())
