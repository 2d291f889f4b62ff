"""What a network is asked: a task owns the loss, the metrics, the scaling of targets and the decoding of outputs."""

import copy
from abc import ABC, abstractmethod
from typing import ClassVar, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torchmetrics import MeanAbsoluteError, MeanSquaredError, Metric, MetricCollection, R2Score
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError, MulticlassF1Score

from zoo.batch import Batch
from zoo.errors import DataError, ZooError


class Output(NamedTuple):
    """What an objective returns: the mean loss of the batch (scalar) and the network's raw prediction."""

    loss: Tensor
    prediction: Tensor


class Task(nn.Module, ABC):
    """Base of all tasks; a module, so that scales and class weights live in the checkpoint.

    Attributes:
        monitor: the validation quantity that says which epoch was best, without its stage.
        mode: whether the best is its "min" or its "max".
    """

    monitor: ClassVar[str]
    mode: ClassVar[Literal["min", "max"]]

    def __init__(self, criterion: nn.Module) -> None:
        super().__init__()
        self.criterion = criterion

    @property
    @abstractmethod
    def out_features(self) -> int:
        """Numbers that the network has to put out for each sample."""

    @abstractmethod
    def metrics(self) -> MetricCollection:
        """Fresh metrics for a whole split; they are fed with decoded predictions and targets in original units."""

    def fit_targets(self, y: Tensor) -> None:
        """Learn what the task needs from the training targets alone: scales, class weights."""

    @abstractmethod
    def check_targets(self, y: Tensor, where: str) -> None:
        """Raise DataError naming ``where`` and the first sample whose target the task cannot take."""

    def target(self, y: Tensor) -> Tensor:
        """Targets as the loss sees them."""
        return y

    def decode(self, prediction: Tensor) -> Tensor:
        """The network's output as a user reads it: class probabilities, values in original units."""
        return prediction

    def quick(self, prediction: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Batch means that are cheap enough for every training step."""
        return {}

    def loss(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Mean loss over the batch, scalar; weighted by ``batch.weight`` when it is given."""
        target = self.target(batch.y)
        if batch.weight is None:
            return cast(Tensor, self.criterion(prediction, target))
        per_sample = _unreduced(self.criterion)(prediction, target).reshape(batch.size, -1).mean(1)
        return (per_sample * batch.weight).sum() / batch.weight.sum()

    def update(self, metrics: MetricCollection | Metric, prediction: Tensor, batch: Batch) -> None:
        """Feed one batch to the metrics of a split."""
        metrics.update(self.decode(prediction), batch.y)


class Classification(Task):
    """One of ``num_classes`` classes for each sample; targets are indices (B,) or soft targets (B, num_classes).

    Args:
        num_classes: at least 2.
        loss: any loss of (logits, targets); cross-entropy by default.
        label_smoothing: in [0, 1); 0 trusts every label, 0.1 is usual (Szegedy et al. 2016, section 7).
        class_weights: one weight a class, or "balanced" for n / (num_classes * n_class) of the training split.
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
        if num_classes < 2:
            raise ZooError(f"Classification needs at least 2 classes, got num_classes={num_classes}")
        if not 0 <= label_smoothing < 1:
            raise ZooError(f"label_smoothing must lie in [0, 1), got {label_smoothing}")
        if loss is not None and (label_smoothing or class_weights):
            raise ZooError(
                "label_smoothing and class_weights belong to the default cross-entropy; give them to the loss itself"
            )
        if isinstance(class_weights, list) and len(class_weights) != num_classes:
            raise ZooError(f"class_weights has {len(class_weights)} entries for {num_classes} classes")
        weight = None
        if class_weights == "balanced":
            weight = torch.ones(num_classes)
        elif class_weights is not None:
            weight = torch.tensor(class_weights)
        super().__init__(loss or nn.CrossEntropyLoss(weight=weight, label_smoothing=label_smoothing))
        self.num_classes = num_classes
        self.balanced = class_weights == "balanced"

    @property
    def out_features(self) -> int:
        return self.num_classes

    def fit_targets(self, y: Tensor) -> None:
        if self.balanced:
            counts = torch.bincount(y, minlength=self.num_classes)
            if (counts == 0).any():
                empty = counts.eq(0).nonzero().flatten().tolist()
                raise DataError(f"class_weights=balanced, but the training split has no sample of class {empty}")
            weight = len(y) / (self.num_classes * counts.float())
            cast(Tensor, self.criterion.weight).copy_(weight)

    def check_targets(self, y: Tensor, where: str) -> None:
        if y.is_floating_point():
            if y.ndim != 2 or y.shape[1] != self.num_classes:
                raise DataError(
                    f"{where}: targets are {y.dtype} of shape {tuple(y.shape)}; classification takes integer labels"
                    f" (N,) or soft targets (N, {self.num_classes})"
                )
            return
        wrong = ((y < 0) | (y >= self.num_classes)).nonzero()
        if len(wrong):
            sample = int(wrong[0, 0])
            raise DataError(
                f"{where}: sample {sample} has label {int(y[sample])}, outside 0..{self.num_classes - 1}"
                f" ({len(wrong)} such labels in all)"
            )

    def decode(self, prediction: Tensor) -> Tensor:
        """Class probabilities, (B, num_classes)."""
        return prediction.float().softmax(1)

    def quick(self, prediction: Tensor, batch: Batch) -> dict[str, Tensor]:
        return {"accuracy": (prediction.argmax(1) == _hard(batch.y)).float().mean()}

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

    def update(self, metrics: MetricCollection | Metric, prediction: Tensor, batch: Batch) -> None:
        metrics.update(self.decode(prediction), _hard(batch.y))


class Regression(Task):
    """Real values for each sample; the network works on standardised targets, metrics are in original units.

    Args:
        num_targets: values to predict for each sample; targets are (B,) or (B, num_targets).
        loss: any loss of (prediction, target) in standardised units; mean squared error by default.
        scale_targets: subtract the mean and divide by the standard deviation of the training targets.
    """

    monitor = "rmse"
    mode = "min"
    mean: Tensor
    std: Tensor

    def __init__(self, num_targets: int = 1, loss: nn.Module | None = None, scale_targets: bool = True) -> None:
        if num_targets < 1:
            raise ZooError(f"Regression needs at least one target, got num_targets={num_targets}")
        super().__init__(loss or nn.MSELoss())
        self.num_targets = num_targets
        self.scale_targets = scale_targets
        self.register_buffer("mean", torch.zeros(num_targets))
        self.register_buffer("std", torch.ones(num_targets))

    @property
    def out_features(self) -> int:
        return self.num_targets

    def fit_targets(self, y: Tensor) -> None:
        if self.scale_targets:
            values = y.reshape(len(y), -1).double()
            std = values.std(0, correction=0)
            if (std == 0).any():
                raise DataError("Regression: a training target is constant; there is nothing to learn from it")
            self.mean.copy_(values.mean(0))
            self.std.copy_(std)

    def check_targets(self, y: Tensor, where: str) -> None:
        if not y.is_floating_point() or y[0].numel() != self.num_targets:
            raise DataError(
                f"{where}: targets are {y.dtype} of shape {tuple(y.shape)}; regression takes floats of shape"
                f" (N,) or (N, {self.num_targets})"
            )
        wrong = (~y.isfinite()).nonzero()
        if len(wrong):
            raise DataError(f"{where}: sample {int(wrong[0, 0])} has a target that is NaN or infinite")

    def target(self, y: Tensor) -> Tensor:
        return (y.reshape(len(y), -1) - self.mean) / self.std

    def decode(self, prediction: Tensor) -> Tensor:
        """Values in original units, (B, num_targets)."""
        return prediction.float() * self.std + self.mean

    def quick(self, prediction: Tensor, batch: Batch) -> dict[str, Tensor]:
        return {"mae": (self.decode(prediction) - batch.y.reshape(batch.size, -1)).abs().mean()}

    def metrics(self) -> MetricCollection:
        metrics: dict[str, Metric] = {
            "mae": MeanAbsoluteError(),
            "rmse": MeanSquaredError(squared=False),
            "r2": R2Score(),
        }
        return MetricCollection(cast("dict[str, Metric | MetricCollection]", metrics), compute_groups=False)

    def update(self, metrics: MetricCollection | Metric, prediction: Tensor, batch: Batch) -> None:
        metrics.update(self.decode(prediction), batch.y.reshape(batch.size, -1))


def _hard(y: Tensor) -> Tensor:
    """Class indices of hard or soft targets."""
    return y.argmax(1) if y.is_floating_point() else y


def _unreduced(criterion: nn.Module) -> nn.Module:
    """The same loss, one value a sample; shares its buffers with the original."""
    if not hasattr(criterion, "reduction"):
        raise ZooError(f"{type(criterion).__name__} has no `reduction`, so sample weights cannot be applied to it")
    per_sample = copy.copy(criterion)
    per_sample.reduction = "none"  # type: ignore[assignment]
    return per_sample
