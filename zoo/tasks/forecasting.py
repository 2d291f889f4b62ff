"""The values of one or several series over the steps that follow a window."""

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torchmetrics import MeanAbsoluteError, MeanSquaredError, Metric, MetricCollection

from zoo.batch import Batch
from zoo.errors import DataError, ZooError
from zoo.losses.base import RegressionLoss
from zoo.tasks.real_values import RealValues


def naive_forecasts(
    x: Tensor, horizon: int, num_targets: int, season: int | None = None, gap: int = 0
) -> dict[str, Tensor]:
    """Forecasts that need no network, in the units of ``x``.

    Args:
        x: windows (B, window, C), the series to forecast first.
        horizon: H.
        num_targets: series to forecast.
        season: steps after which the series resemble themselves: 24 for the day of hourly values, 168 for the week.
        gap: steps between the window's end and the first step to forecast.

    Returns:
        "last value": what was seen last, again and again; "last season", where ``season`` is given: what was seen a
        season (or several) before. (B, H, num_targets) each.

    Raises:
        ZooError: the window is shorter than a season.
    """
    series = x[..., :num_targets]
    forecasts = {"last value": series[:, -1:].expand(-1, horizon, -1)}
    if season is not None:
        _check_season(season, x.shape[1])
        steps = gap + torch.arange(horizon, device=x.device)
        forecasts["last season"] = series[:, -season:][:, steps % season]
    return forecasts


class Forecasting(RealValues):
    """The next ``horizon`` values of each of ``num_targets`` series; targets are (B, horizon, num_targets).

    The network works on series that are standardised by mean and deviation of the training rows. So are ``mse`` and
    ``mae``, as the literature reports them; ``rmse`` is in original units, over all series together.

    Args:
        num_targets: series to forecast, the first channels of the windows; linked from the data.
        horizon: steps to forecast; linked from the data.
        loss: any loss of (prediction, target) in standardised units, mean squared error by default; zoo.losses.Quantile
            gives intervals.
        scale_targets: standardise the series; without, ``mse`` and ``mae`` are in original units too.
        season: steps of a season, for the forecast that repeats the last one, beside which results are printed; 24 for
            hourly values with a daily rhythm. At most the window.
        gap: steps between a window and the first step to forecast; linked from the data.
    """

    monitor = "mse"

    def __init__(
        self,
        num_targets: int,
        horizon: int,
        loss: nn.Module | None = None,
        scale_targets: bool = True,
        season: int | None = None,
        gap: int = 0,
    ) -> None:
        if horizon < 1:
            raise ZooError(f"Forecasting: horizon must be at least 1 step, got {horizon}")
        if season is not None and season < 1:
            raise ZooError(f"Forecasting: season must be at least 1 step, got {season}")
        super().__init__(num_targets, loss, scale_targets)
        self.horizon, self.season, self.gap = horizon, season, gap

    @property
    def target_shape(self) -> tuple[int, ...]:
        return (self.horizon, self.num_targets)

    def check_window(self, window: int) -> None:
        """Raise ZooError where windows of this many steps do not hold a season."""
        if self.season is not None:
            _check_season(self.season, window)

    def check_targets(self, y: Tensor, where: str) -> None:
        """``y`` are rows (N, num_targets) of the training part, or targets (N, horizon, num_targets)."""
        if not y.is_floating_point() or y.ndim < 2 or y.shape[-1] != self.num_targets:
            raise DataError(
                f"{where}: targets are {y.dtype} of shape {tuple(y.shape)}; forecasting takes floats of shape"
                f" (..., {self.num_targets})"
            )
        self.check_values(y, where)

    def loss(self, prediction: Tensor, batch: Batch) -> Tensor:
        expected = batch.size * self.out_features
        if prediction.numel() != expected or batch.y.numel() * self.outputs_per_target != expected:
            raise ZooError(
                f"Forecasting: {self.horizon} steps of {self.num_targets} series with {self.outputs_per_target}"
                f" output(s) each were asked for; the network's output is {tuple(prediction.shape)}, the targets are"
                f" {tuple(batch.y.shape)}"
            )
        outputs = self.outputs(prediction)
        # A loss of torch wants the targets' shape; one of the zoo takes the k outputs of each target as they are.
        return super().loss(outputs if isinstance(self.criterion, RegressionLoss) else outputs[..., 0], batch)

    @property
    def columns(self) -> list[str]:
        kinds = ["value"] if self.coverage is None else ["value", "lower", "upper"]
        places = [(series, step) for step in range(1, self.horizon + 1) for series in range(self.num_targets)]
        return [f"{kind}_{series}_step_{step}" for series, step in places for kind in kinds]

    def naive_forecasts(self, x: Tensor) -> dict[str, Tensor]:
        """``naive_forecasts`` of windows (B, window, C) for this task."""
        return naive_forecasts(x, self.horizon, self.num_targets, self.season, self.gap)

    def naive(self, train: Tensor, batches: Iterable[Batch]) -> dict[str, dict[str, float]]:
        scores: dict[str, MetricCollection] = {}
        for batch in batches:
            for name, forecast in self.naive_forecasts(batch.x).items():
                self._score(scores.setdefault(name, self.metrics().to(batch.x.device)), forecast, batch.y)
        return {name: {key: float(value) for key, value in found.compute().items()} for name, found in scores.items()}

    def metrics(self) -> MetricCollection:
        metrics: dict[str, Metric] = {
            "mse": MeanSquaredError(),
            "mae": MeanAbsoluteError(),
            "rmse": MeanSquaredError(squared=False),
        }
        return MetricCollection(cast("dict[str, Metric | MetricCollection]", metrics), compute_groups=False)

    def update(self, metrics: MetricCollection | Metric, prediction: Tensor, batch: Batch) -> None:
        self._score(cast(MetricCollection, metrics), self.decode(prediction), batch.y)

    def _score(self, metrics: MetricCollection, forecast: Tensor, y: Tensor) -> None:
        """Feed forecasts in original units: standardised to ``mse`` and ``mae``, as they are to ``rmse``."""
        own_units = forecast.reshape(-1), y.reshape(-1)
        standardized = self.standardize(forecast).reshape(-1), self.target(y).reshape(-1)
        for name, (guess, truth) in {"mse": standardized, "mae": standardized, "rmse": own_units}.items():
            metrics[name].update(guess, truth)


def _check_season(season: int, window: int) -> None:
    if not 1 <= season <= window:
        raise ZooError(
            f"a season of {season} steps does not fit into a window of {window}; widen the window, or name a shorter"
            " season"
        )
