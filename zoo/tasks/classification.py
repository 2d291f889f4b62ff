"""One of several classes for each sample."""

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError, MulticlassF1Score

from zoo.batch import Batch
from zoo.errors import DataError
from zoo.losses.base import check_soft_targets
from zoo.tasks.base import CONSTANT
from zoo.tasks.class_labels import ClassLabels


class Classification(ClassLabels):
    """One of ``num_classes`` classes for each sample; targets are indices (B,) or soft targets (B, num_classes).

    Args:
        num_classes: at least 2.
        loss: any loss of (logits, targets); cross-entropy by default.
        label_smoothing: in [0, 1); 0 trusts every label, 0.1 is usual (Szegedy et al. 2016, section 7).
        class_weights: one weight a class, or "balanced" for n / (num_classes * n_class) of the training split.

    Attributes:
        temperature: scalar that logits are divided by before they are read or judged, but not in training; 1 unless
            TemperatureScaling has fitted it.
    """

    monitor = "accuracy"
    mode = "max"
    temperature: Tensor

    def __init__(
        self,
        num_classes: int,
        loss: nn.Module | None = None,
        label_smoothing: float = 0.0,
        class_weights: list[float] | Literal["balanced"] | None = None,
    ) -> None:
        super().__init__(num_classes, loss, label_smoothing, class_weights)
        self.register_buffer("temperature", torch.ones(()))

    def check_targets(self, y: Tensor, where: str) -> None:
        soft = y.is_floating_point() and y.shape[1:] == (self.num_classes,)
        if not soft and (y.dtype != torch.int64 or y.ndim != 1):
            raise DataError(
                f"{where}: targets are {y.dtype} of shape {tuple(y.shape)}; classification takes integer labels"
                f" (int64, (N,)) or soft targets (N, {self.num_classes})"
            )
        if soft:
            check_soft_targets(self.criterion, y)
            wrong = (~((y >= 0).all(1) & ((y.sum(1) - 1).abs() < 1e-3))).nonzero()  # NaN fails both
            if len(wrong):
                raise DataError(
                    f"{where}: sample {int(wrong[0, 0])} has soft targets that are negative or do not add up to 1"
                )
            return
        wrong = ((y < 0) | (y >= self.num_classes)).nonzero()
        if len(wrong):
            sample = int(wrong[0, 0])
            raise DataError(
                f"{where}: sample {sample} has label {int(y[sample])}, outside 0..{self.num_classes - 1}"
                f" ({len(wrong)} such labels in all)"
            )

    def target(self, y: Tensor) -> Tensor:
        check_soft_targets(self.criterion, y)  # MixUp and its kin make them after the data were checked
        return y

    def loss(self, prediction: Tensor, batch: Batch) -> Tensor:
        return super().loss(prediction if self.training else prediction / self.temperature, batch)

    def decode(self, prediction: Tensor) -> Tensor:
        """Class probabilities, (B, num_classes)."""
        return self.probabilities(prediction.float() / self.temperature)

    def quick(self, prediction: Tensor, batch: Batch) -> dict[str, Tensor]:
        return {"accuracy": (prediction.argmax(1) == _hard(batch.y)).float().mean()}

    def naive(self, train: Tensor, batches: Iterable[Batch]) -> dict[str, dict[str, float]]:
        commonest = torch.bincount(_hard(train), minlength=self.num_classes).argmax()
        y = torch.cat([_hard(batch.y) for batch in batches])
        return {CONSTANT: {"accuracy": (y == commonest).float().mean().item()}}

    def metrics(self) -> MetricCollection:
        classes = self.num_classes
        return MetricCollection(
            {
                "accuracy": MulticlassAccuracy(classes, average="micro"),
                "f1": MulticlassF1Score(classes, average="macro"),
                "calibration_error": MulticlassCalibrationError(classes),
            },
            compute_groups=False,
        )

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        state_dict.setdefault(f"{prefix}temperature", torch.ones(()))  # weights from before there was one
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def update(self, metrics: MetricCollection | Metric, prediction: Tensor, batch: Batch) -> None:
        metrics.update(self.decode(prediction), _hard(batch.y))


def _hard(y: Tensor) -> Tensor:
    """Class indices of hard or soft targets."""
    return y.argmax(1) if y.is_floating_point() else y
