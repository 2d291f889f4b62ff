"""A recurrent network that reads a window and writes the steps that follow, one after the other or all at once."""

import math
from typing import Literal, TypeAlias, cast

import torch
from torch import Tensor, nn

from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.forecasting import Forecaster, WindowNorm
from zoo.layers.recurrent import Cell, RecurrentEncoder, State
from zoo.task import Forecasting

TeacherForcing: TypeAlias = Literal["always", "never", "linear", "inverse_sigmoid"]


def teacher_forcing_probability(schedule: TeacherForcing, step: int, decay_steps: float) -> float:
    """How often a decoder is fed the true value rather than its own, after ``step`` optimizer steps.

    "linear": 1 - step / decay_steps, at least 0. "inverse_sigmoid": k / (k + exp(step / k)), with k such that it is a
    half after ``decay_steps`` (step = k log k).

    Source: Bengio, Vinyals, Jaitly and Shazeer, "Scheduled Sampling for Sequence Prediction with Recurrent Neural
    Networks", 2015, section 2.4.
    """
    match schedule:
        case "always":
            return 1.0
        case "never":
            return 0.0
        case "linear":
            return max(0.0, 1 - step / decay_steps)
        case "inverse_sigmoid":
            k = _inverse_sigmoid_scale(decay_steps)
            return 1 / (1 + math.exp(min(step / k - math.log(k), 700)))


class RecurrentForecaster(Forecaster):
    """Recurrent layers read the window, covariates included; a decoder writes the horizon.

    "direct" reads all steps from the last state by one linear map. "autoregressive" goes on from that state step by
    step, fed with the value before: in training the true one with the probability of ``teacher_forcing``, else its own.

    Sources: Sutskever, Vinyals and Le 2014; Bengio et al. 2015 (scheduled sampling).

    Args:
        num_channels, window, task, normalization: see Forecaster.
        hidden: width of the states.
        layers: of encoder and decoder, 1 to 3.
        cell: see RecurrentEncoder.
        decoder: "direct" is faster and does not add up its errors; "autoregressive" has a network of a size that does
            not grow with the horizon.
        teacher_forcing: "always" trains fast, but on inputs that it never sees later; "never" trains on its own values;
            "linear" and "inverse_sigmoid" go from one to the other. Of the autoregressive decoder alone.
        decay_steps: optimizer steps after which the probability is 0 ("linear") or a half ("inverse_sigmoid"); at least
            2 e.
        dropout: probability in [0, 1) between layers and before the last map.
    """

    def __init__(
        self,
        num_channels: int,
        window: int,
        task: Forecasting,
        hidden: int = 64,
        layers: int = 1,
        cell: Cell = "gru",
        decoder: Literal["direct", "autoregressive"] = "direct",
        teacher_forcing: TeacherForcing = "linear",
        decay_steps: float = 1000,
        dropout: float = 0.0,
        normalization: WindowNorm = "last",
    ) -> None:
        super().__init__(num_channels, window, task, normalization)
        if decay_steps < 2 * math.e:
            raise ZooError(f"RecurrentForecaster: decay_steps must be at least 2 e (5.4), got {decay_steps}")
        self.encoder = RecurrentEncoder(num_channels, hidden, layers, cell, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.teacher_forcing, self.decay_steps = teacher_forcing, decay_steps
        direct = decoder == "direct"
        self.decoder = None if direct else RecurrentEncoder(self.series, hidden, layers, cell, dropout=dropout)
        steps = self.horizon if direct else 1
        self.head = nn.Linear(hidden, steps * self.series * self.outputs)

    def forward_batch(self, batch: Batch) -> Tensor:
        if not self.training or self.decoder is None:
            return cast(Tensor, self(batch.x))
        x, statistics = self.normalize(batch.x)
        return self.denormalize(self.decode_steps(x, self.normalize_targets(batch.y, statistics)), statistics)

    def forecast(self, x: Tensor) -> Tensor:
        if self.decoder is not None:
            return self.decode_steps(x, None)
        outputs, _ = self.encoder(x)
        return self._read(outputs[:, -1], self.horizon)

    def decode_steps(self, x: Tensor, y: Tensor | None) -> Tensor:
        """Outputs (B, horizon, num_targets, k) step by step.

        Args:
            x: normalised windows (B, window, C).
            y: normalised targets (B, horizon, num_targets) to be fed with the probability of ``teacher_forcing``, drawn
                for each sample and step; None feeds the network's own values alone.
        """
        decoder = cast(RecurrentEncoder, self.decoder)
        _, state = self.encoder(x)
        last = x[:, -1:, : self.series]
        chance = 0.0 if y is None else teacher_forcing_probability(
            self.teacher_forcing, self.global_step, self.decay_steps
        )  # fmt: skip
        if y is not None and chance == 1:  # all inputs are known: one call of the fused kernel
            outputs, _ = decoder(torch.cat([last, y[:, :-1]], 1), state=state)
            return self._read(outputs, 1).flatten(1, 2)
        forced = None if chance == 0 else torch.rand(len(x), self.horizon, device=x.device) < chance
        steps = []
        for step in range(self.horizon):
            outputs, state = decoder(last, state=cast(State, state))
            steps.append(self._read(outputs[:, -1], 1))  # (B, 1, S, k)
            last = steps[-1][..., self.location]
            if forced is not None and y is not None:
                last = torch.where(forced[:, step, None, None], y[:, step : step + 1], last)
        return torch.cat(steps, 1)

    def _read(self, outputs: Tensor, steps: int) -> Tensor:
        """(..., hidden) -> (..., steps, num_targets, k)."""
        return cast(Tensor, self.head(self.dropout(outputs))).unflatten(-1, (steps, self.series, self.outputs))


def _inverse_sigmoid_scale(decay_steps: float) -> float:
    """The k with k log k = decay_steps, by Newton's method; 2 e at the least lies well within its convex part."""
    k = decay_steps / math.log(decay_steps)
    for _ in range(20):
        k -= (k * math.log(k) - decay_steps) / (math.log(k) + 1)
    return k
