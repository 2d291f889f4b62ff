"""Which weights a regulariser is for, and the base of the penalties on them."""

import re
from abc import ABC, abstractmethod

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from callbacks.technique import NoEffect, Technique
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.module import ZooModule
from zoo.optim import decays
from zoo.task import Output


def compile_match(technique: str, match: str) -> re.Pattern[str]:
    """The regular expression ``match``; raises ZooError naming ``technique`` where it is none."""
    try:
        return re.compile(match)
    except re.error as error:
        raise ZooError(f"{technique}: match={match!r} is no regular expression: {error}") from None


def select_weights(
    network: nn.Module, pattern: re.Pattern[str], vectors: bool = False, frozen: bool = False
) -> dict[str, nn.Parameter]:
    """Trainable parameters whose name contains ``pattern``.

    Args:
        network: where to look; tied parameters are found once.
        pattern: searched anywhere in names such as ``backbone.0.linear.weight``; the empty one is in all names.
        vectors: take biases and the gains of norms too, not only matrices and filters.
        frozen: take those too that are not trained at the moment.
    """
    known = {name: p for name, p in network.named_parameters() if frozen or p.requires_grad}
    return {name: p for name, p in known.items() if pattern.search(name) and (vectors or decays(p))}


class WeightPenalty(Technique, ABC):
    """Base of the penalties on weights: adds ``strength * measure(weights)`` to the loss.

    Args:
        strength: factor on the penalty, positive.
        match: regular expression for names of parameters; empty for all.
        vectors: penalise biases and the gains of norms too.

    Raises:
        ZooError: a negative strength, or a match that is no regular expression.
        NoEffect: in a fit, when the strength is 0 or nothing matches.
    """

    def __init__(self, strength: float, match: str, vectors: bool) -> None:
        if strength < 0:
            raise ZooError(f"{type(self).__name__}: strength must not be negative, got {strength}")
        self.strength, self.match, self.vectors = strength, match, vectors
        self._pattern = compile_match(type(self).__name__, match)
        self._weights: list[Tensor] = []

    @property
    def name(self) -> str:
        # Two penalties of one kind on different weights may stand side by side.
        return f"{type(self).__name__}[{self.match}]" if self.match else type(self).__name__

    @abstractmethod
    def measure(self, weights: list[Tensor]) -> Tensor:
        """The penalty of these weights at strength 1, a scalar."""

    def attach(self, module: ZooModule) -> None:
        if self.strength == 0:
            raise NoEffect(f"{self.name}: strength is 0, which changes nothing; raise it or drop {self.name}")
        self._select(module)
        self.add_penalty(module, self._penalty)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, ZooModule)
        # Techniques that came later in setup may have replaced layers, or frozen them.
        self._or_blame_freezers(pl_module, lambda: self._select(pl_module))

    def detach(self, module: ZooModule) -> None:
        super().detach(module)
        self._weights = []

    def _penalty(self, module: ZooModule, batch: Batch, output: Output) -> Tensor:
        # Which weights are trained may change from epoch to epoch, and what is frozen needs no penalty.
        trained = [weight for weight in self._weights if weight.requires_grad]
        return self.strength * self.measure(trained) if trained else output.loss.new_zeros(())

    def _select(self, module: nn.Module) -> None:
        self._weights = list(select_weights(module, self._pattern, self.vectors, frozen=True).values())
        if not any(weight.requires_grad for weight in self._weights):
            kind = "parameter" if self.vectors else "matrix or filter"
            raise NoEffect(
                f"{self.name}: no trainable {kind} of {type(module).__name__} has a name with {self.match!r} in it;"
                " correct match (names look like head.weight)"
            )
