"""Real values for each sample."""

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torchmetrics import MeanAbsoluteError, MeanSquaredError, Metric, MetricCollection, R2Score

from zoo.batch import Batch
from zoo.errors import DataError
from zoo.tasks.base import CONSTANT
from zoo.tasks.interval import IntervalCoverage, IntervalWidth
from zoo.tasks.real_values import RealValues


class Regression(RealValues):
    """Real values for each sample; the network works on standardised targets, metrics are in original units.

    Args:
        num_targets: values to predict for each sample; targets are (B,) or (B, num_targets).
        loss: any loss of (prediction, target) in standardised units; mean squared error by default. A loss that asks
            for several outputs a target, such as GaussianNLL, gets them.
        scale_targets: subtract the mean and divide by the standard deviation of the training targets. Under a loss in
            which zero has a meaning (Tweedie, torch's Poisson) targets are divided by their mean instead.
    """

    monitor = "rmse"

    def __init__(self, num_targets: int = 1, loss: nn.Module | None = None, scale_targets: bool = True) -> None:
        super().__init__(num_targets, loss, scale_targets)

    @property
    def target_shape(self) -> tuple[int, ...]:
        return (self.num_targets,)

    def check_targets(self, y: Tensor, where: str) -> None:
        if not y.is_floating_point() or y[0].numel() != self.num_targets:
            raise DataError(
                f"{where}: targets are {y.dtype} of shape {tuple(y.shape)}; regression takes floats of shape"
                f" (N,) or (N, {self.num_targets})"
            )
        self.check_values(y, where)

    @property
    def columns(self) -> list[str]:
        kinds = ["value"] if self.coverage is None else ["value", "lower", "upper"]
        return [f"{kind}_{target}" for target in range(self.num_targets) for kind in kinds]

    def quick(self, prediction: Tensor, batch: Batch) -> dict[str, Tensor]:
        return {"mae": (self.decode(prediction) - batch.y.reshape(batch.size, -1)).abs().mean()}

    def naive(self, train: Tensor, batches: Iterable[Batch]) -> dict[str, dict[str, float]]:
        train = train.reshape(len(train), -1).double()
        y = torch.cat([batch.y.reshape(batch.size, -1) for batch in batches]).double()
        found = {
            "mae": (y - train.median(0).values).abs().mean().item(),
            "rmse": (y - train.mean(0)).square().mean().sqrt().item(),
        }
        if self.coverage is not None:
            ends = torch.tensor([(1 - self.coverage) / 2, (1 + self.coverage) / 2], dtype=train.dtype)
            low, high = train.quantile(ends, 0)
            found["coverage"] = ((low <= y) & (y <= high)).double().mean().item()
            found["interval_width"] = (high - low).mean().item()
        return {CONSTANT: found}

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
