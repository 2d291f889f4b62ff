"""What every task has: a loss, metrics, and the way from a network's output to what a user reads."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar, Literal, NamedTuple, cast

from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.losses.base import Loss, Reducible

# What an answer that is the same for every sample is called where it is compared with.
CONSTANT = "a constant answer"


class Output(NamedTuple):
    """What an objective returns: the mean loss of the batch (scalar) and the network's raw prediction."""

    loss: Tensor
    prediction: Tensor


class Task(nn.Module, ABC):
    """Base of all tasks; a module, so that scales and class weights live in the checkpoint.

    Args:
        criterion: the mean loss of (prediction, target).

    Attributes:
        monitor: the validation quantity that says which epoch was best, without its stage.
        mode: whether the best is its "min" or its "max".
        losses: the kind of the zoo's losses that the task takes; losses from elsewhere are not checked.
        per_step: whether every step of a sequence has a target of its own; predictions are then (B, T, out_features).

    Raises:
        ZooError: the loss is for another kind of targets, or does not average over the batch.
    """

    monitor: ClassVar[str]
    mode: ClassVar[Literal["min", "max"]]
    losses: ClassVar[type[Loss]] = Loss
    per_step: ClassVar[bool] = False

    def __init__(self, criterion: nn.Module) -> None:
        super().__init__()
        name = type(criterion).__name__
        if isinstance(criterion, Loss) and not isinstance(criterion, self.losses):
            raise ZooError(
                f"{name} is a loss for {criterion.about}, but {type(self).__name__} is about {self.losses.about}"
            )
        if isinstance(criterion, Reducible) and criterion.reduction != "mean":
            raise ZooError(
                f"{type(self).__name__} needs the mean of {name}, got reduction={criterion.reduction}; weights of"
                " samples go into the batch"
            )
        self.criterion = criterion

    @property
    @abstractmethod
    def out_features(self) -> int:
        """Numbers that the network has to put out for each sample."""

    @abstractmethod
    def metrics(self) -> MetricCollection:
        """Fresh metrics for a whole split; they are fed with decoded predictions and targets in original units."""

    def fit_targets(self, y: Tensor) -> None:
        """Learn what the task and its loss need from the training targets alone: scales, class weights and counts."""

    @abstractmethod
    def check_targets(self, y: Tensor, where: str) -> None:
        """Raise DataError naming ``where`` and the first sample whose target the task cannot take."""

    def target(self, y: Tensor) -> Tensor:
        """Targets as the loss sees them."""
        return y

    def decode(self, prediction: Tensor) -> Tensor:
        """The network's output as a user reads it: class probabilities, values in original units."""
        return prediction

    def predict(self, prediction: Tensor) -> Tensor:
        """What ``zoo predict`` writes of the network's output, one row a sample: ``decode``, and what a task adds."""
        return self.decode(prediction)

    @property
    def columns(self) -> list[str] | None:
        """Names of what ``predict`` gives for each sample, where the task knows them."""
        return None

    def quick(self, prediction: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Batch means that are cheap enough for every training step."""
        return {}

    def loss(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Mean loss over the batch, scalar; weighted by ``batch.weight`` when it is given."""
        target = self.target(batch.y)
        if batch.weight is None:
            return cast(Tensor, self.criterion(prediction, target))
        weighted = self.sample_losses(prediction, batch) * batch.weight
        return weighted.sum() / (batch.weight * self.mass(target)).sum()

    def sample_losses(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Loss of each sample, (B,), without the weights of samples."""
        return _unreduced(self.criterion)(prediction, self.target(batch.y)).reshape(batch.size, -1).mean(1)

    def mass(self, target: Tensor) -> Tensor | float:
        """What each sample counts as in the mean of the loss, (B,): class weights, where the loss divides by them."""
        return 1.0

    def naive(self, train: Tensor, batches: Iterable[Batch]) -> dict[str, dict[str, float]]:
        """What answers reach that need no network: the best constant one, a forecast that repeats the past.

        A network that is not clearly better has learnt nothing.

        Args:
            train: the training targets, from which a constant answer is learnt.
            batches: the split to measure on, as the network gets it; read once.

        Returns:
            name of the answer -> metric -> value, with the metrics' names of ``metrics``.
        """
        return {}

    def count(self, batch: Batch) -> int:
        """What the means of a batch are taken over: its samples, or its valid steps where each has a target."""
        return batch.size

    def update(self, metrics: MetricCollection | Metric, prediction: Tensor, batch: Batch) -> None:
        """Feed one batch to the metrics of a split."""
        metrics.update(self.decode(prediction), batch.y)


def _unreduced(criterion: nn.Module) -> nn.Module:
    """The same loss, one value a sample; shares its buffers with the original."""
    if not isinstance(criterion, Reducible):
        raise ZooError(f"{type(criterion).__name__} has no `reduction`, so sample weights cannot be applied to it")
    per_sample = copy.copy(criterion)
    per_sample.reduction = "none"
    return per_sample
