"""One of several classes for each step of a sequence."""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from zoo.batch import Batch
from zoo.tasks.base import CONSTANT
from zoo.tasks.step_labels import IGNORED, StepLabels


class Tagging(StepLabels):
    """One of ``num_classes`` classes for each step; targets are int64 (B, T), -100 at padded steps.

    Loss and metrics are means over all valid steps, so that a long sequence counts as much as its steps.

    Args:
        num_classes: at least 2.
        loss: any loss of (logits, targets); cross-entropy by default.
        label_smoothing: in [0, 1); 0 trusts every label, 0.1 is usual.
        class_weights: one weight a class, or "balanced" for n / (num_classes * n_class) of the training steps.
    """

    monitor = "accuracy"
    mode = "max"

    def __init__(
        self,
        num_classes: int,
        loss: nn.Module | None = None,
        label_smoothing: float = 0.0,
        class_weights: list[float] | Literal["balanced"] | None = None,
    ) -> None:
        super().__init__(num_classes, loss, label_smoothing, class_weights)

    def quick(self, prediction: Tensor, batch: Batch) -> dict[str, Tensor]:
        steps = self.valid(prediction, batch)
        return {"accuracy": (steps.logits.argmax(1) == steps.y).float().mean()}

    def naive(self, train: Tensor, batches: Iterable[Batch]) -> dict[str, dict[str, float]]:
        commonest = torch.bincount(train[train != IGNORED], minlength=self.num_classes).argmax()
        y = torch.cat([batch.y[batch.y != IGNORED] for batch in batches])
        return {CONSTANT: {"accuracy": (y == commonest).float().mean().item()}}

    def metrics(self) -> MetricCollection:
        return MetricCollection(
            {
                "accuracy": MulticlassAccuracy(self.num_classes, average="micro"),
                "f1": MulticlassF1Score(self.num_classes, average="macro"),
            },
            compute_groups=False,
        )

    def update(self, metrics: MetricCollection | Metric, prediction: Tensor, batch: Batch) -> None:
        steps = self.valid(prediction, batch)
        metrics.update(steps.logits.argmax(1), steps.y)
