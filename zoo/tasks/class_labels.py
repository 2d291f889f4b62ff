"""What tasks about class labels share: the loss, its class weights, and what logits mean under it."""

from typing import Literal, cast

import torch
from torch import Tensor, nn

from zoo.errors import DataError, ZooError
from zoo.losses.base import ClassificationLoss
from zoo.tasks.base import Task


class ClassLabels(Task):
    """Base of Classification and of the tasks with a label at every step.

    Args:
        num_classes: at least 2.
        loss: any loss of (logits, targets); cross-entropy by default.
        label_smoothing: in [0, 1); 0 trusts every label, 0.1 is usual (Szegedy et al. 2016, section 7).
        class_weights: one weight a class, or "balanced" for n / (num_classes * n_class) of the training split.
    """

    losses = ClassificationLoss

    def __init__(
        self,
        num_classes: int,
        loss: nn.Module | None,
        label_smoothing: float,
        class_weights: list[float] | Literal["balanced"] | None,
    ) -> None:
        if num_classes < 2:
            raise ZooError(f"{type(self).__name__} needs at least 2 classes, got num_classes={num_classes}")
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
        if isinstance(loss, ClassificationLoss):
            loss.set_num_classes(num_classes)

    @property
    def out_features(self) -> int:
        return self.num_classes

    def fit_targets(self, y: Tensor) -> None:
        if isinstance(self.criterion, ClassificationLoss):
            self.criterion.fit_targets(y)
        if self.balanced:
            counts = y.sum(0) if y.is_floating_point() else torch.bincount(y, minlength=self.num_classes)
            if (counts == 0).any():
                empty = counts.eq(0).nonzero().flatten().tolist()
                raise DataError(f"class_weights=balanced, but the training split has no sample of class {empty}")
            weight = len(y) / (self.num_classes * counts.float())
            cast(Tensor, self.criterion.weight).copy_(weight)

    def mass(self, target: Tensor) -> Tensor | float:
        if isinstance(self.criterion, nn.CrossEntropyLoss | nn.NLLLoss) and not target.is_floating_point():
            weight = self.criterion.weight
            return 1.0 if weight is None else weight[target]
        return 1.0  # torch divides by the number of samples under soft targets, the zoo's losses always

    def probabilities(self, logits: Tensor) -> Tensor:
        """Class probabilities of logits, (N, num_classes) both."""
        if isinstance(self.criterion, ClassificationLoss):
            return self.criterion.probabilities(logits.float())
        return logits.float().softmax(1)
