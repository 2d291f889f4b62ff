"""Train on the samples that are still hard: look at all of a batch, go backwards through a part of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from callbacks.technique import NoEffect, Technique, UnsupportedModule
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.losses.base import Reducible
from zoo.module import SupervisedModule, ZooModule


def keep_probability(losses: Tensor, history: Tensor, beta: float) -> Tensor:
    """CDF(L)^beta, with the share of recent losses that are not larger than L as the CDF, (B,) in (0, 1].

    Jiang et al., "Accelerating deep learning by focusing on the biggest losers", 2019, section 3.1.

    Args:
        losses: of the batch, (B,).
        history: recent losses with those of the batch among them, (R,).
        beta: 0 keeps all; 1 about half of the samples, 2 a third, b one in b + 1.
    """
    ranks = torch.searchsorted(history.sort().values, losses, right=True)
    return (ranks / len(history)) ** beta


class SelectiveBackprop(Technique):
    """Keep each sample of a batch with a probability that rises with its loss; train on those that are kept.

    Jiang et al., "Accelerating deep learning by focusing on the biggest losers", 2019. A first forward pass of the
    whole batch, in evaluation mode and without a graph, finds the losses; the training step then sees the kept samples
    alone, as a smaller batch, with their weights. With a backward pass of twice the cost of a forward one, a step costs
    (1 + 3 k) / 3 of a plain one for the share k that is kept: beta = 2 saves a third of the time, beta = 1 a sixth.
    (One forward pass and a loss with a part left out would save nothing: gradients of zero are computed as well.)

    Args:
        beta: selectivity, positive; 1 to 2. The share that is kept is about 1 / (beta + 1).
        history: recent losses that a loss is compared with, at least 2.

    Raises:
        ZooError: a number out of range.
        NoEffect: in a fit, when ``beta`` is 0.
        UnsupportedModule: in a fit, for a loss that cannot be told for each sample.
    """

    supports = SupervisedModule

    def __init__(self, beta: float = 2.0, history: int = 1024) -> None:
        if not beta >= 0:
            raise ZooError(f"SelectiveBackprop: beta must not be negative, got {beta}; 1 to 2 are usual")
        if history < 2:
            raise ZooError(f"SelectiveBackprop: history counts losses and must be at least 2, got {history}")
        self.beta, self.history = beta, history
        self._losses = torch.empty(0)
        self._kept = torch.empty(0, dtype=torch.int64)

    def attach(self, module: ZooModule) -> None:
        assert isinstance(module, SupervisedModule)
        if self.beta == 0:
            raise NoEffect("SelectiveBackprop: beta is 0, which keeps all samples at a higher cost; raise it or drop")
        if not isinstance(module.task.criterion, Reducible):
            raise UnsupportedModule(
                f"SelectiveBackprop: {type(module.task.criterion).__name__} has no `reduction`, so that the loss of"
                " each sample is not known; choose another loss, or drop it"
            )
        self._losses = torch.empty(0)
        self.add_batch_transform(module, self._select)

    def _select(self, module: ZooModule, batch: Batch) -> Batch:
        assert isinstance(module, SupervisedModule)
        if not isinstance(batch.x, Tensor):
            raise UnsupportedModule("SelectiveBackprop selects from inputs that are one tensor; drop it")
        if not module.revisiting:  # SAM's second look is at the same samples
            self._kept = self._choose(module, batch)
        if len(self._kept) == batch.size:
            return batch
        return Batch(*[None if part is None else part[self._kept] for part in batch])

    @torch.no_grad()
    def _choose(self, module: SupervisedModule, batch: Batch) -> Tensor:
        """Places of the samples to train on, at least two of them, in rising order."""
        with _evaluating(module):
            losses = module.task.sample_losses(module.forward_batch(batch), batch).float()
        if batch.weight is not None:
            losses = losses * batch.weight
        self._losses = torch.cat([self._losses.to(losses.device), losses])[-self.history :]
        probability = keep_probability(losses, self._losses, self.beta)
        kept = (torch.rand_like(probability) < probability).nonzero()[:, 0]
        if len(kept) < min(2, batch.size):  # batch norm has no variance of one sample
            kept = losses.topk(min(2, batch.size)).indices.sort().values
        return kept

    def state_dict(self) -> dict[str, Any]:
        return {"losses": self._losses}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._losses = state_dict["losses"]


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Within it the network is in evaluation mode; then each layer's flag, frozen ones included, is as before."""
    training = [part for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True
