"""Real values for each sample."""

from typing import cast

import torch
from torch import Tensor, nn
from torchmetrics import MeanAbsoluteError, MeanSquaredError, Metric, MetricCollection, R2Score

from zoo.batch import Batch
from zoo.errors import DataError, ZooError
from zoo.losses.base import RegressionLoss
from zoo.losses.tweedie import check_not_negative
from zoo.tasks.base import Task
from zoo.tasks.interval import IntervalCoverage, IntervalWidth


class Regression(Task):
    """Real values for each sample; the network works on standardised targets, metrics are in original units.

    Args:
        num_targets: values to predict for each sample; targets are (B,) or (B, num_targets).
        loss: any loss of (prediction, target) in standardised units; mean squared error by default. A loss that asks
            for several outputs a target, such as GaussianNLL, gets them.
        scale_targets: subtract the mean and divide by the standard deviation of the training targets. Under a loss in
            which zero has a meaning (Tweedie, torch's Poisson) targets are divided by their mean instead.
    """

    monitor = "rmse"
    mode = "min"
    losses = RegressionLoss
    mean: Tensor
    std: Tensor

    def __init__(self, num_targets: int = 1, loss: nn.Module | None = None, scale_targets: bool = True) -> None:
        if num_targets < 1:
            raise ZooError(f"Regression needs at least one target, got num_targets={num_targets}")
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
    def out_features(self) -> int:
        per_target = self.criterion.outputs_per_target if isinstance(self.criterion, RegressionLoss) else 1
        return self.num_targets * per_target

    @property
    def shifts_targets(self) -> bool:
        """Whether scaling moves the targets' mean to zero."""
        return self.criterion.shifts_targets if isinstance(self.criterion, RegressionLoss) else not self.poisson

    def fit_targets(self, y: Tensor) -> None:
        if self.scale_targets:
            values = y.reshape(len(y), -1).double()
            std = values.std(0, correction=0)
            if (std == 0).any():
                raise DataError("Regression: a training target is constant; there is nothing to learn from it")
            if self.shifts_targets:
                self.mean.copy_(values.mean(0))
                self.std.copy_(std)
            else:
                self.std.copy_(values.mean(0))  # an output of 0 then means exp(0) times the mean

    def check_targets(self, y: Tensor, where: str) -> None:
        if not y.is_floating_point() or y[0].numel() != self.num_targets:
            raise DataError(
                f"{where}: targets are {y.dtype} of shape {tuple(y.shape)}; regression takes floats of shape"
                f" (N,) or (N, {self.num_targets})"
            )
        wrong = (~y.isfinite()).nonzero()
        if len(wrong):
            raise DataError(f"{where}: sample {int(wrong[0, 0])} has a target that is NaN or infinite")
        if isinstance(self.criterion, RegressionLoss):
            self.criterion.check_targets(y, where)
        elif self.poisson:
            check_not_negative(y, where, "PoissonNLLLoss")

    def target(self, y: Tensor) -> Tensor:
        return (y.reshape(len(y), -1) - self.mean) / self.std

    def decode(self, prediction: Tensor) -> Tensor:
        """Values in original units, (B, num_targets)."""
        point = prediction.float()
        if isinstance(self.criterion, RegressionLoss):
            point = self.criterion.point(self._outputs(point))
        elif self.log_link:
            point = point.exp()
        return point * self.std + self.mean

    def interval(self, prediction: Tensor, coverage: float = 0.9) -> tuple[Tensor, Tensor]:
        """Lower and upper ends, in original units, of the interval that holds a target with this probability.

        Both are (B, num_targets), of raw predictions (B, out_features). Raises ZooError where the loss says nothing
        about it.
        """
        if not isinstance(self.criterion, RegressionLoss):
            raise ZooError(
                f"{type(self.criterion).__name__} gives one number and no interval; use GaussianNLL, LaplaceNLL or"
                " Quantile"
            )
        low, high = self.criterion.interval(self._outputs(prediction.float()), coverage)
        return low * self.std + self.mean, high * self.std + self.mean

    @property
    def coverage(self) -> float | None:
        """The coverage of the interval that metrics and predictions speak of; None where the loss gives none."""
        return self.criterion.usual_coverage if isinstance(self.criterion, RegressionLoss) else None

    def predict(self, prediction: Tensor) -> Tensor:
        """Values in original units, (B, num_targets), or each with the ends of its interval, (B, 3 num_targets)."""
        if self.coverage is None:
            return self.decode(prediction)
        low, high = self.interval(prediction, self.coverage)
        return torch.stack([self.decode(prediction), low, high], -1).flatten(1)

    @property
    def columns(self) -> list[str]:
        kinds = ["value"] if self.coverage is None else ["value", "lower", "upper"]
        return [f"{kind}_{target}" for target in range(self.num_targets) for kind in kinds]

    def quick(self, prediction: Tensor, batch: Batch) -> dict[str, Tensor]:
        return {"mae": (self.decode(prediction) - batch.y.reshape(batch.size, -1)).abs().mean()}

    def naive(self, train: Tensor, y: Tensor) -> dict[str, float]:
        train, y = train.reshape(len(train), -1).double(), y.reshape(len(y), -1).double()
        found = {
            "mae": (y - train.median(0).values).abs().mean().item(),
            "rmse": (y - train.mean(0)).square().mean().sqrt().item(),
        }
        if self.coverage is not None:
            ends = torch.tensor([(1 - self.coverage) / 2, (1 + self.coverage) / 2], dtype=train.dtype)
            low, high = train.quantile(ends, 0)
            found["coverage"] = ((low <= y) & (y <= high)).double().mean().item()
            found["interval_width"] = (high - low).mean().item()
        return found

    def metrics(self) -> MetricCollection:
        metrics: dict[str, Metric] = {
            "mae": MeanAbsoluteError(),
            "rmse": MeanSquaredError(squared=False),
            "r2": R2Score(),
        }
        if self.coverage is not None:
            metrics |= {"coverage": IntervalCoverage(), "interval_width": IntervalWidth()}
        return MetricCollection(cast("dict[str, Metric | MetricCollection]", metrics), compute_groups=False)

    def update(self, metrics: MetricCollection | Metric, prediction: Tensor, batch: Batch) -> None:
        target = batch.y.reshape(batch.size, -1)
        if self.coverage is None:
            metrics.update(self.decode(prediction), target)
        else:
            low, high = self.interval(prediction, self.coverage)
            metrics.update(self.decode(prediction), target, low=low, high=high)

    def _outputs(self, prediction: Tensor) -> Tensor:
        """Raw predictions (B, T k) with the k outputs of each target in a dimension of their own, (B, T, k)."""
        return prediction.reshape(len(prediction), self.num_targets, -1)
