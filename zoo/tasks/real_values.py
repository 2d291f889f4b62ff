"""What tasks about real values share: the scale of the targets, and the outputs of a loss that asks for several."""

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn

from zoo.errors import DataError, ZooError
from zoo.losses.base import RegressionLoss
from zoo.losses.tweedie import check_not_negative
from zoo.tasks.base import Task


class RealValues(Task):
    """Base of Regression and Forecasting: the network works on standardised targets.

    Args:
        num_targets: kinds of values to predict, each with a scale of its own; the last dimension of the targets.
        loss: any loss of (prediction, target) in standardised units; mean squared error by default.
        scale_targets: subtract the mean and divide by the standard deviation of the training targets. Under a loss in
            which zero has a meaning (Tweedie, torch's Poisson) targets are divided by their mean instead.
    """

    mode = "min"
    losses = RegressionLoss
    mean: Tensor
    std: Tensor

    def __init__(self, num_targets: int, loss: nn.Module | None, scale_targets: bool) -> None:
        name = type(self).__name__
        if num_targets < 1:
            raise ZooError(f"{name} needs at least one target, got num_targets={num_targets}")
        if isinstance(loss, nn.GaussianNLLLoss):
            raise ZooError("torch's GaussianNLLLoss wants the variance as a third argument; use zoo.losses.GaussianNLL")
        super().__init__(loss or nn.MSELoss())
        self.num_targets = num_targets
        self.scale_targets = scale_targets
        self.poisson = isinstance(loss, nn.PoissonNLLLoss)
        self.log_link = isinstance(loss, nn.PoissonNLLLoss) and loss.log_input
        self.register_buffer("mean", torch.zeros(num_targets))
        self.register_buffer("std", torch.ones(num_targets))

    @property
    @abstractmethod
    def target_shape(self) -> tuple[int, ...]:
        """Shape of one sample's targets, without the dimension of the batch."""

    @property
    def outputs_per_target(self) -> int:
        """Numbers k that the network puts out for each target."""
        return self.criterion.outputs_per_target if isinstance(self.criterion, RegressionLoss) else 1

    @property
    def out_features(self) -> int:
        return math.prod(self.target_shape) * self.outputs_per_target

    @property
    def shifts_targets(self) -> bool:
        """Whether scaling moves the targets' mean to zero."""
        return self.criterion.shifts_targets if isinstance(self.criterion, RegressionLoss) else not self.poisson

    def fit_targets(self, y: Tensor) -> None:
        if self.scale_targets:
            values = y.reshape(-1, self.num_targets).double()
            std = values.std(0, correction=0)
            if (std == 0).any():
                raise DataError(
                    f"{type(self).__name__}: a training target is constant; there is nothing to learn from it"
                )
            if self.shifts_targets:
                self.mean.copy_(values.mean(0))
                self.std.copy_(std)
            else:
                self.std.copy_(values.mean(0))  # an output of 0 then means exp(0) times the mean

    def check_values(self, y: Tensor, where: str) -> None:
        """Raise DataError where a target is not a number, or none that the loss is defined for."""
        wrong = (~y.isfinite()).nonzero()
        if len(wrong):
            raise DataError(f"{where}: sample {int(wrong[0, 0])} has a target that is NaN or infinite")
        if isinstance(self.criterion, RegressionLoss):
            self.criterion.check_targets(y, where)
        elif self.poisson:
            check_not_negative(y, where, "PoissonNLLLoss")

    def standardize(self, values: Tensor) -> Tensor:
        """Values in original units, (..., num_targets), in the units that the network works in."""
        return (values - self.mean) / self.std

    def target(self, y: Tensor) -> Tensor:
        return self.standardize(y.reshape(len(y), *self.target_shape))

    def decode(self, prediction: Tensor) -> Tensor:
        """Values in original units, (B, num_targets) or (B, horizon, num_targets)."""
        outputs = self.outputs(prediction.float())
        if isinstance(self.criterion, RegressionLoss):
            point = self.criterion.point(outputs)
        else:
            point = outputs[..., 0].exp() if self.log_link else outputs[..., 0]
        return point * self.std + self.mean

    def interval(self, prediction: Tensor, coverage: float = 0.9) -> tuple[Tensor, Tensor]:
        """Lower and upper ends, in original units, of the interval that holds a target with this probability.

        Both have the shape of ``decode``, of raw predictions. Raises ZooError where the loss says nothing about it.
        """
        if not isinstance(self.criterion, RegressionLoss):
            raise ZooError(
                f"{type(self.criterion).__name__} gives one number and no interval; use GaussianNLL, LaplaceNLL or"
                " Quantile"
            )
        low, high = self.criterion.interval(self.outputs(prediction.float()), coverage)
        return low * self.std + self.mean, high * self.std + self.mean

    @property
    def coverage(self) -> float | None:
        """The coverage of the interval that metrics and predictions speak of; None where the loss gives none."""
        return self.criterion.usual_coverage if isinstance(self.criterion, RegressionLoss) else None

    def predict(self, prediction: Tensor) -> Tensor:
        """Values in original units, as ``decode`` has them, or each with the ends of its interval, (B, 3 values)."""
        if self.coverage is None:
            return self.decode(prediction)
        low, high = self.interval(prediction, self.coverage)
        return torch.stack([self.decode(prediction), low, high], -1).flatten(1)

    def outputs(self, prediction: Tensor) -> Tensor:
        """Raw predictions with the k outputs of each target in a dimension of their own, (B, *target_shape, k)."""
        return prediction.reshape(len(prediction), *self.target_shape, self.outputs_per_target)
