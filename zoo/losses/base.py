"""What losses share: how values become one number, and what a task may ask of a loss beside that number."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal, Protocol, TypeAlias, get_args, runtime_checkable

import torch
from torch import Tensor, nn

from zoo.errors import ZooError

Reduction: TypeAlias = Literal["mean", "sum", "none"]


@runtime_checkable
class Reducible(Protocol):
    """A loss, of the zoo or of torch, that can be asked for its values before they are averaged."""

    reduction: str


class Loss(nn.Module, ABC):
    """Base of the zoo's losses.

    Args:
        reduction: "mean" or "sum" over everything that "none" would return.

    Attributes:
        about: what kind of targets the loss is for, as errors put it.
    """

    about: ClassVar[str]

    def __init__(self, reduction: Reduction) -> None:
        super().__init__()
        if reduction not in get_args(Reduction):
            raise ZooError(f"{type(self).__name__}: reduction must be mean, sum or none, got {reduction!r}")
        self.reduction: str = reduction

    def require(self, fine: bool, needs: str) -> None:
        """Raise ZooError that an argument is not what it ``needs`` to be."""
        if not fine:
            raise ZooError(f"{type(self).__name__}: {needs}")

    def reduce(self, values: Tensor) -> Tensor:
        """Scalar, or ``values`` themselves for the reduction "none"."""
        if self.reduction == "none":
            return values
        return values.mean() if self.reduction == "mean" else values.sum()


class ClassificationLoss(Loss):
    """Base of the losses of logits (B, C) against one class a sample; "none" gives one value a sample, (B,).

    Attributes:
        soft_targets: whether targets may also be distributions over the classes, (B, C).
    """

    about = "one class a sample"
    soft_targets: ClassVar[bool] = False

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of logits (B, C) against int64 labels (B,) or, where they are taken, soft targets (B, C)."""
        check_soft_targets(self, target)
        return self.reduce(self.per_sample(full_precision(logits), target))

    @abstractmethod
    def per_sample(self, logits: Tensor, target: Tensor) -> Tensor:
        """One value a sample, (B,)."""

    def probabilities(self, logits: Tensor) -> Tensor:
        """What the logits mean under this loss: class probabilities (B, C)."""
        return logits.softmax(1)

    def set_num_classes(self, num_classes: int) -> None:
        """Make room for what is kept for each class; called once, when a task is built."""

    def fit_targets(self, y: Tensor) -> None:
        """Learn from the training targets what the loss needs to know of them, such as how many each class has."""


class PerClassLoss(ClassificationLoss):
    """Base of the losses that are linear in the targets: the value for soft targets is sum_c y_c l_c.

    That is what MixUp asks for: lambda l(a) + (1 - lambda) l(b) for a sample that mixes the classes a and b.
    """

    soft_targets = True

    @abstractmethod
    def class_losses(self, logits: Tensor) -> Tensor:
        """l_c: what the loss of each sample would be if c were its class, (B, C)."""

    def per_sample(self, logits: Tensor, target: Tensor) -> Tensor:
        losses = self.class_losses(logits)
        if target.is_floating_point():
            return (target.to(losses.dtype) * losses).sum(1)
        return losses.gather(1, target[:, None])[:, 0]


class MultiLabelLoss(Loss):
    """Base of the losses of logits (B, C) against 0/1 targets (B, C); "none" gives (B, C)."""

    about = "any number of labels a sample"

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of logits (B, C) against targets (B, C) in [0, 1]."""
        return self.reduce(self.per_label(full_precision(logits), target.to(full_precision(logits).dtype)))

    @abstractmethod
    def per_label(self, logits: Tensor, target: Tensor) -> Tensor:
        """One value a label, (B, C)."""


class RegressionLoss(Loss):
    """Base of the losses of real values; "none" gives one value a target, in the targets' shape.

    A network puts out ``outputs_per_target`` numbers k for each target, next to each other: target t of a sample
    reads the outputs t k to t k + k - 1.

    Attributes:
        shifts_targets: whether targets may be standardised; False where zero has a meaning, as for counts, and
            targets are divided by their mean only.
    """

    about = "real values"
    shifts_targets: ClassVar[bool] = True

    @property
    def outputs_per_target(self) -> int:
        """Numbers k that the network has to put out for each target."""
        return 1

    @property
    def location(self) -> int:
        """Which of the k outputs moves with the target: adding a number to it moves the whole distribution by that."""
        return 0

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Loss of raw outputs (B, T k) against targets (B, T), or (B, k) against (B,)."""
        return self.reduce(self.per_value(full_precision(self.outputs(prediction, target)), target))

    def outputs(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Raw outputs with the k of each target in a dimension of their own: the shape of ``target``, then k."""
        k = self.outputs_per_target
        if prediction.numel() != target.numel() * k or len(prediction) != len(target):
            raise ZooError(
                f"{type(self).__name__} needs {k} output(s) for each target, but the network's output has the shape"
                f" {tuple(prediction.shape)} for targets of shape {tuple(target.shape)}"
            )
        return prediction.reshape(*target.shape, k)

    @abstractmethod
    def per_value(self, outputs: Tensor, target: Tensor) -> Tensor:
        """One value a target: outputs (..., k) against targets (...)."""

    def point(self, outputs: Tensor) -> Tensor:
        """The single number that is the prediction: outputs (..., k) to (...)."""
        return outputs[..., self.location]

    @property
    def usual_coverage(self) -> float | None:
        """The coverage of the interval that reports speak of; None where the loss gives none."""
        return None

    def interval(self, outputs: Tensor, coverage: float) -> tuple[Tensor, Tensor]:
        """Central interval that a target should lie in with probability ``coverage``: two tensors (...)."""
        raise ZooError(
            f"{type(self).__name__} gives one number and no interval; use GaussianNLL, LaplaceNLL or Quantile"
        )

    def check_targets(self, y: Tensor, where: str) -> None:
        """Raise DataError naming ``where`` and the first sample whose target the loss is not defined for."""


def check_soft_targets(criterion: nn.Module, target: Tensor) -> None:
    """Raise ZooError where ``target`` holds distributions and the loss is known to take class indices only."""
    if not target.is_floating_point():
        return
    if isinstance(criterion, ClassificationLoss):
        hard_only = not criterion.soft_targets
    else:
        hard_only = isinstance(criterion, nn.NLLLoss | nn.MultiMarginLoss)
    if hard_only:
        raise ZooError(
            f"{type(criterion).__name__} takes class indices, not soft targets; leave out what mixes or smooths targets"
            " (MixUp, CutMix), or choose a loss that takes them, such as cross-entropy or Focal"
        )


def check_coverage(coverage: float) -> None:
    """Raise ZooError where an interval is asked for that no distribution has."""
    if not 0 < coverage < 1:
        raise ZooError(f"the coverage of an interval must lie in (0, 1), got {coverage}")


def full_precision(values: Tensor) -> Tensor:
    """float32 for 16-bit values, which logarithms and exponentials of a loss do not survive; others as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def power(base: Tensor, exponent: float) -> Tensor:
    """base ** exponent for base in [0, 1], with a finite gradient at 0 for exponents below 1."""
    return base.clamp_min(torch.finfo(base.dtype).eps) ** exponent if exponent else torch.ones_like(base)
