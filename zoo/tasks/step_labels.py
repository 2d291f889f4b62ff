"""What tasks with a label at every step share: padded steps are left out, the others are samples like any other."""

from typing import ClassVar, NamedTuple, cast

import torch
from torch import Tensor

from zoo.batch import Batch
from zoo.errors import DataError, ZooError
from zoo.tasks.class_labels import ClassLabels

IGNORED = -100  # the label of a padded step, as torch's losses have it


class Steps(NamedTuple):
    """The N valid steps of a batch: logits (N, num_classes), labels (N,), weights of their sequences (N,) or None."""

    logits: Tensor
    y: Tensor
    weight: Tensor | None


class StepLabels(ClassLabels):
    """Base of Tagging and LanguageModeling: logits (B, T, num_classes), labels int64 (B, T), -100 where padded."""

    per_step: ClassVar[bool] = True

    def valid(self, prediction: Tensor, batch: Batch) -> Steps:
        """Logits and labels of the steps that have a label."""
        y = cast(Tensor, batch.y)
        if prediction.shape[:-1] != y.shape:
            raise ZooError(
                f"{type(self).__name__}: the network answers for the steps {tuple(prediction.shape[:-1])}, the labels"
                f" are {tuple(y.shape)}; it needs a network with an output at every step"
            )
        logits, labels = prediction.flatten(0, 1), y.flatten()
        weight = None if batch.weight is None else batch.weight.repeat_interleave(y.shape[1])
        keep = labels != IGNORED
        if keep.all():
            return Steps(logits, labels, weight)
        return Steps(logits[keep], labels[keep], None if weight is None else weight[keep])

    def count(self, batch: Batch) -> int:
        return int((batch.y != IGNORED).sum())

    def fit_targets(self, y: Tensor) -> None:
        super().fit_targets(y[y != IGNORED])

    def check_targets(self, y: Tensor, where: str) -> None:
        name = type(self).__name__
        if y.dtype != torch.int64:
            raise DataError(f"{where}: targets are {y.dtype}; {name} takes integer labels (int64), one for each step")
        wrong = (((y < 0) & (y != IGNORED)) | (y >= self.num_classes)).nonzero()
        if len(wrong):
            place = wrong[0].tolist()
            raise DataError(
                f"{where}: label {int(y[tuple(place)])} at {place} lies outside 0..{self.num_classes - 1}"
                f" ({len(wrong)} such labels in all); {IGNORED} marks padded steps"
            )

    def loss(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Mean loss over the valid steps, scalar; each weighted as its sequence is."""
        steps = self.valid(prediction, batch)
        return super().loss(steps.logits, Batch(steps.logits, steps.y, weight=steps.weight))

    def sample_losses(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Mean loss over the valid steps of each sequence, (B,); of single steps (N, num_classes), of each."""
        if prediction.ndim == 2:
            return super().sample_losses(prediction, batch)
        steps, labelled = self.valid(prediction, batch), batch.y != IGNORED
        losses = steps.logits.new_zeros(labelled.shape)
        losses[labelled] = super().sample_losses(steps.logits, Batch(steps.logits, steps.y)).to(losses.dtype)
        return losses.sum(1) / labelled.sum(1).clamp(min=1)

    def decode(self, prediction: Tensor) -> Tensor:
        """Class probabilities at each step, (B, T, num_classes)."""
        return self.probabilities(prediction.flatten(0, 1)).view(prediction.shape)
