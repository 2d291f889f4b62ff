"""Networks that forecast all steps at once: linear maps over time, and a recurrent network over segments."""

from abc import abstractmethod
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.errors import ZooError
from zoo.layers.revin import RevIN, Statistics
from zoo.losses.base import RegressionLoss
from zoo.module import SupervisedModule
from zoo.notice import notice
from zoo.task import Forecasting

WindowNorm: TypeAlias = Literal["none", "last", "revin", "revin_affine"]


class Forecaster(SupervisedModule):
    """Base of the family: windows (B, window, C), of which the first ``num_targets`` channels are forecast.

    These come in original units and are standardised here as the task learned it; other channels are covariates, taken
    as they are. A subclass defines ``forecast``.

    Args:
        num_channels: C; linked from the data.
        window: steps of a window; linked from the data.
        task: Forecasting.
        normalization: of each window: "last" subtracts its last value, "revin" brings it to mean 0 and deviation 1 (see
            RevIN), "revin_affine" learns a scale and shift beside; the forecast is brought back. For series whose level
            wanders. With a loss of several outputs a target, its location is brought back; the spread is learned.
    """

    takes = ("sequences",)

    def __init__(self, num_channels: int, window: int, task: Forecasting, normalization: WindowNorm) -> None:
        super().__init__(task)
        name = type(self).__name__
        if window < 1:
            raise ZooError(f"{name}: window must be at least 1 step, got {window}")
        if num_channels < task.num_targets:
            raise ZooError(f"{name}: {task.num_targets} series to forecast, but windows of {num_channels} channel(s)")
        if normalization != "none" and not task.shifts_targets:
            raise ZooError(
                f"{name}: normalization={normalization} moves the zero of the series, which has a meaning under"
                f" {type(task.criterion).__name__}; use normalization=none"
            )
        task.check_window(window)
        self.forecasting, self.window, self.normalization = task, window, normalization
        self.series, self.horizon, self.outputs = task.num_targets, task.horizon, task.outputs_per_target
        loss = task.criterion
        self.location = loss.location if isinstance(loss, RegressionLoss) else 0
        self.revin = RevIN(self.series, normalization == "revin_affine") if "revin" in normalization else None
        self.example_input_array = torch.zeros(2, window, num_channels)

    @abstractmethod
    def forecast(self, x: Tensor) -> Tensor:
        """Windows (B, window, C), series normalised, to outputs (B, horizon, num_targets, k)."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, window, C), series in original units -> (B, horizon, num_targets, k), standardised."""
        x, statistics = self.normalize(x)
        return self.denormalize(self.forecast(x), statistics)

    def normalize(self, x: Tensor) -> tuple[Tensor, Statistics | None]:
        """Standardise and normalise the series of a window; also what brings a forecast back."""
        if x.shape[1] != self.window:
            raise ZooError(f"{type(self).__name__} was built for windows of {self.window} steps, got {x.shape[1]}")
        series, covariates = self.forecasting.standardize(x[..., : self.series]), x[..., self.series :]
        statistics: Statistics | None = None
        if self.revin is not None:
            statistics = self.revin.statistics(series)
            series = self.revin.normalize(series, statistics)
        elif self.normalization == "last":
            statistics = Statistics(series[:, -1:], torch.ones_like(series[:, -1:]))
            series = series - statistics.mean
        return torch.cat([series, covariates], 2) if covariates.shape[2] else series, statistics

    def normalize_targets(self, y: Tensor, statistics: Statistics | None) -> Tensor:
        """Targets (B, horizon, num_targets) as ``normalize`` would have made them part of the window."""
        y = self.forecasting.target(y)
        if self.revin is not None and statistics is not None:
            return self.revin.normalize(y, statistics)
        return y if statistics is None else y - statistics.mean

    def denormalize(self, outputs: Tensor, statistics: Statistics | None) -> Tensor:
        """Bring the location of each output (B, H, num_targets, k) back; the others say how far values lie from it."""
        if statistics is None:
            return outputs
        location = outputs[..., self.location]
        back = self.revin.denormalize(location, statistics) if self.revin is not None else location + statistics.mean
        if self.outputs == 1:
            return back[..., None]
        before, _, after = outputs.tensor_split([self.location, self.location + 1], 3)
        return torch.cat([before, back[..., None], after], 3)

    def notice_covariates(self, num_channels: int) -> None:
        """Say that this network reads no covariates, where there are some."""
        if num_channels > self.series:
            notice(
                f"{type(self).__name__} forecasts each series from itself alone and leaves"
                f" {num_channels - self.series} covariate channel(s) unread; RecurrentForecaster reads them"
            )


class TimeLinear(nn.Module):
    """A linear map over time, the same for all series or one for each: (B, S, in_steps) -> (B, S, out_features)."""

    def __init__(self, series: int, in_steps: int, out_features: int, individual: bool) -> None:
        super().__init__()
        maps = [nn.Linear(in_steps, out_features) for _ in range(series if individual else 1)]
        self.weight = nn.Parameter(torch.stack([each.weight.detach() for each in maps]))
        self.bias = nn.Parameter(torch.stack([each.bias.detach() for each in maps]))

    def forward(self, x: Tensor) -> Tensor:
        if len(self.weight) == 1:
            return F.linear(x, self.weight[0], self.bias[0])
        return torch.einsum("bsi,soi->bso", x, self.weight) + self.bias


class DLinear(Forecaster):
    """Trend by a moving average, season as what is left, a linear map over time for each, and their sum.

    Source: Zeng, Chen, Zhang and Xu, "Are Transformers Effective for Time Series Forecasting?", 2023.

    Args:
        num_channels, window, task, normalization: see Forecaster.
        kernel: steps of the moving average, odd; the ends of a window are continued with their values.
        individual: maps of its own for each series.
    """

    def __init__(
        self,
        num_channels: int,
        window: int,
        task: Forecasting,
        kernel: int = 25,
        individual: bool = False,
        normalization: WindowNorm = "none",
    ) -> None:
        super().__init__(num_channels, window, task, normalization)
        if kernel < 1 or kernel % 2 == 0:
            raise ZooError(f"DLinear: kernel must be odd and at least 1, got {kernel}")
        self.notice_covariates(num_channels)
        self.kernel = kernel
        out_features = self.horizon * self.outputs
        self.trend = TimeLinear(self.series, window, out_features, individual)
        self.season = TimeLinear(self.series, window, out_features, individual)

    def forecast(self, x: Tensor) -> Tensor:
        x = x[..., : self.series].transpose(1, 2)  # (B, S, window)
        padded = F.pad(x, [self.kernel // 2] * 2, mode="replicate")
        trend = F.avg_pool1d(padded, self.kernel, stride=1)
        return _steps_first(self.trend(trend) + self.season(x - trend), self.horizon)


class NLinear(Forecaster):
    """A linear map over time of what a window's values lie above its last one, and that one added again.

    Source: Zeng et al. 2023.

    Args:
        num_channels, window, task: see Forecaster.
        individual: a map of its own for each series.
    """

    def __init__(self, num_channels: int, window: int, task: Forecasting, individual: bool = False) -> None:
        super().__init__(num_channels, window, task, "last")
        self.notice_covariates(num_channels)
        self.linear = TimeLinear(self.series, window, self.horizon * self.outputs, individual)

    def forecast(self, x: Tensor) -> Tensor:
        return _steps_first(self.linear(x[..., : self.series].transpose(1, 2)), self.horizon)


class SegRNN(Forecaster):
    """A GRU over segments of a window, and one step of it for each segment to come, all at once.

    Each series is a sample of its own. A segment of the past is embedded by a linear map and ReLU; the state at the
    end is continued for each future segment from an embedding of that segment's place and the series, and a linear map
    reads its values. So a window of 720 steps is a sequence of 15.

    Source: Lin et al., "SegRNN: Segment Recurrent Neural Network for Long-Term Time Series Forecasting", 2023
    (the parallel decoding).

    Args:
        num_channels, window, task: see Forecaster.
        segment: steps of a segment, of which the window is a multiple; a horizon that is none is cut off.
        hidden: width of embeddings and states, even; 64 to 512.
        dropout: probability in [0, 1) before the last map; the paper has up to 0.5.
        normalization: see Forecaster; the paper subtracts the last value.
    """

    def __init__(
        self,
        num_channels: int,
        window: int,
        task: Forecasting,
        segment: int = 48,
        hidden: int = 128,
        dropout: float = 0.1,
        normalization: WindowNorm = "last",
    ) -> None:
        super().__init__(num_channels, window, task, normalization)
        if segment < 1 or window < segment or window % segment:
            raise ZooError(
                f"SegRNN: a window of {window} steps is not made of whole segments of {segment}; choose a window that"
                " is a multiple of the segment"
            )
        if hidden < 2 or hidden % 2:
            raise ZooError(f"SegRNN: hidden must be even and at least 2, got {hidden}")
        if not 0 <= dropout < 1:
            raise ZooError(f"SegRNN: dropout must lie in [0, 1), got {dropout}")
        self.notice_covariates(num_channels)
        self.segment, self.future = segment, -(-self.horizon // segment)
        self.embedding = nn.Linear(segment, hidden)
        self.gru = nn.GRU(hidden, hidden, batch_first=True)
        self.place_embedding = nn.Parameter(torch.randn(self.future, hidden // 2))
        self.series_embedding = nn.Parameter(torch.randn(self.series, hidden // 2))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, segment * self.outputs)

    def forecast(self, x: Tensor) -> Tensor:
        rows, series, future = len(x), self.series, self.future
        segments = x[..., :series].transpose(1, 2).reshape(rows * series, -1, self.segment)  # (B S, n, segment)
        _, state = self.gru(F.relu(self.embedding(segments)))  # (1, B S, d)
        query = torch.cat(
            [
                self.place_embedding.expand(series, -1, -1),
                self.series_embedding[:, None].expand(-1, future, -1),
            ],
            2,
        )  # (S, m, d)
        query = query.expand(rows, -1, -1, -1).reshape(rows * series * future, 1, -1)
        outputs, _ = self.gru(query, state.repeat_interleave(future, 1))  # (B S m, 1, d)
        values = self.head(self.dropout(outputs)).view(rows, series, future * self.segment * self.outputs)
        return _steps_first(values, future * self.segment)[:, : self.horizon]


def _steps_first(values: Tensor, steps: int) -> Tensor:
    """(B, S, steps k) -> (B, steps, S, k)."""
    return values.unflatten(2, (steps, -1)).transpose(1, 2)
