"""Any number of labels for each sample."""

from typing import Literal, cast

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MultilabelAveragePrecision, MultilabelExactMatch, MultilabelF1Score

from zoo.batch import Batch
from zoo.errors import DataError, ZooError
from zoo.losses.base import MultiLabelLoss
from zoo.tasks.base import Task


class MultiLabel(Task):
    """Each of ``num_classes`` labels is present or absent; targets are 0 or 1, (B, num_classes).

    Metrics are means over the labels: ``map`` (mean average precision, no threshold) and ``f1``; and ``exact_match``,
    the share of samples with every label right.

    Args:
        num_classes: labels, at least 1.
        loss: any loss of (logits, targets), both (B, num_classes); binary cross-entropy by default.
        positive_weights: weight of the present against the absent for each label, or "balanced" for absent / present
            samples of the training split; belongs to the default loss.
        threshold: in (0, 1); a label is called present above this probability.
    """

    monitor = "map"
    mode = "max"
    losses = MultiLabelLoss

    def __init__(
        self,
        num_classes: int,
        loss: nn.Module | None = None,
        positive_weights: list[float] | Literal["balanced"] | None = None,
        threshold: float = 0.5,
    ) -> None:
        if num_classes < 1:
            raise ZooError(f"MultiLabel needs at least one label, got num_classes={num_classes}")
        if not 0 < threshold < 1:
            raise ZooError(f"threshold must lie in (0, 1), got {threshold}")
        if loss is not None and positive_weights:
            raise ZooError("positive_weights belong to the default binary cross-entropy; give them to the loss itself")
        if isinstance(positive_weights, list) and len(positive_weights) != num_classes:
            raise ZooError(f"positive_weights has {len(positive_weights)} entries for {num_classes} labels")
        weight = None
        if positive_weights == "balanced":
            weight = torch.ones(num_classes)
        elif positive_weights is not None:
            weight = torch.tensor(positive_weights)
        super().__init__(loss or nn.BCEWithLogitsLoss(pos_weight=weight))
        self.num_classes, self.threshold = num_classes, threshold
        self.balanced = positive_weights == "balanced"

    @property
    def out_features(self) -> int:
        return self.num_classes

    def fit_targets(self, y: Tensor) -> None:
        if self.balanced:
            present = y.double().sum(0)
            if (present == 0).any():
                never = present.eq(0).nonzero().flatten().tolist()
                raise DataError(f"positive_weights=balanced, but the training split has no sample with label {never}")
            cast(Tensor, self.criterion.pos_weight).copy_((len(y) - present) / present)

    def check_targets(self, y: Tensor, where: str) -> None:
        if y.ndim != 2 or y.shape[1] != self.num_classes:
            raise DataError(
                f"{where}: targets have the shape {tuple(y.shape)}; MultiLabel takes zeros and ones of shape"
                f" (N, {self.num_classes})"
            )
        wrong = ((y != 0) & (y != 1)).nonzero()
        if len(wrong):
            sample, label = wrong[0].tolist()
            raise DataError(
                f"{where}: sample {sample} has {float(y[sample, label]):g} for label {label}; MultiLabel takes 0 or 1"
            )

    def target(self, y: Tensor) -> Tensor:
        return y if y.is_floating_point() else y.float()

    def decode(self, prediction: Tensor) -> Tensor:
        """Probability of each label, (B, num_classes)."""
        return prediction.float().sigmoid()

    def quick(self, prediction: Tensor, batch: Batch) -> dict[str, Tensor]:
        right = (self.decode(prediction) > self.threshold) == (batch.y > 0.5)
        return {"exact_match": right.all(1).float().mean()}

    def metrics(self) -> MetricCollection:
        metrics: dict[str, Metric] = {
            "map": MultilabelAveragePrecision(self.num_classes),
            "f1": MultilabelF1Score(self.num_classes, threshold=self.threshold),
            "exact_match": MultilabelExactMatch(self.num_classes, threshold=self.threshold),
        }
        return MetricCollection(cast("dict[str, Metric | MetricCollection]", metrics), compute_groups=False)

    def update(self, metrics: MetricCollection | Metric, prediction: Tensor, batch: Batch) -> None:
        metrics.update(self.decode(prediction), (batch.y > 0.5).long())
