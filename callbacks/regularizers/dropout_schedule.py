"""A schedule for dropout: rates that change over training, for early, late and curriculum dropout."""

from bisect import bisect_right
from itertools import pairwise
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from torch import nn

from callbacks.technique import NoEffect, Technique
from zoo.errors import ZooError
from zoo.layers.dropout import dropouts
from zoo.module import ZooModule


def factor_at(done: float, progress: list[float], factor: list[float], ramp: Literal["linear", "constant"]) -> float:
    """The factor on every rate at a point of the run.

    Between the points (progress_i, factor_i) it is the straight line ("linear"), or factor_i up to the next point
    ("constant"); before the first and behind the last it is theirs.

    Args:
        done: share of the run that is done, in [0, 1].
        progress: where the points lie, increasing.
        factor: what holds there.
        ramp: "linear" or "constant".
    """
    behind = bisect_right(progress, done)
    if behind == 0 or behind == len(progress) or ramp == "constant":
        return factor[max(behind - 1, 0)]
    left, right = progress[behind - 1], progress[behind]
    share = (done - left) / (right - left)
    return factor[behind - 1] + share * (factor[behind] - factor[behind - 1])


class DropoutSchedule(Technique):
    """Multiply the rates of all dropouts and drop-paths by a factor that is a function of the step.

    Liu, Xu, Jin, Shen and Darrell, "Dropout reduces underfitting", 2023: dropout in the first part of training only
    ("early": progress [0, 0.2], factor [1, 0]) lets networks that underfit reach a lower loss, in the last part only
    ("late": [0, 0.2], [0, 1], constant) regularises. Morerio et al., "Curriculum dropout", 2017: a rate that grows from
    0. Every ``log_every_n_steps`` steps the factor is logged as ``train/dropout_factor``. The rates are the network's
    own again at the end of the fit.

    Args:
        progress: shares of the run, in [0, 1] and increasing, at which the factors hold.
        factor: one for each, not negative; 1 is the network's own rate.
        ramp: "linear" between the points, or "constant" up to the next one.

    Raises:
        ZooError: points that make no sense, or a factor that brings a rate to 1 or above.
        NoEffect: in a fit, when no layer has a rate above 0, or all factors are 1.
    """

    def __init__(
        self,
        progress: list[float] = [0.0, 0.2],  # noqa: B006  never changed; a list reads best in --help
        factor: list[float] = [1.0, 0.0],  # noqa: B006
        ramp: Literal["linear", "constant"] = "linear",
    ) -> None:
        increasing = all(a < b for a, b in pairwise(progress))
        if not progress or len(progress) != len(factor) or not increasing or progress[0] < 0 or progress[-1] > 1:
            raise ZooError(
                "DropoutSchedule: progress lists increasing shares of the run in [0, 1], and factor one number for"
                f" each, got progress={progress} and factor={factor}"
            )
        if not all(value >= 0 for value in factor):
            raise ZooError(f"DropoutSchedule: factors must not be negative, got {factor}")
        self.progress, self.factor, self.ramp = progress, factor, ramp
        self._rates: list[tuple[nn.Module, str, float]] = []
        self._now, self._total = 1.0, 1.0

    def attach(self, module: ZooModule) -> None:
        found = [(layer, attribute, float(getattr(layer, attribute))) for layer, attribute in dropouts(module)]
        self._rates, self._now = [entry for entry in found if entry[2] > 0], 1.0
        if not self._rates:
            raise NoEffect(
                f"DropoutSchedule: {type(module).__name__} has no dropout with a rate above 0; set --model.dropout or"
                " --model.drop_path, or drop DropoutSchedule"
            )
        if all(value == 1 for value in self.factor):
            raise NoEffect("DropoutSchedule: all factors are 1, which changes no rate; change factor or drop it")
        largest = max(rate for *_, rate in self._rates)
        if largest * max(self.factor) >= 1:
            raise ZooError(
                f"DropoutSchedule: a rate of {largest:g} times the factor {max(self.factor):g} is"
                f" {largest * max(self.factor):g}, and a rate must stay below 1; lower factor"
            )
        self.acted()  # how late it acts is a matter of the points

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._total = float(trainer.estimated_stepping_batches)
        if self._total == float("inf"):
            raise ZooError("DropoutSchedule has to know the length of the run; set max_epochs or max_steps")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        assert isinstance(pl_module, ZooModule)
        self._set(factor_at(trainer.global_step / self._total, self.progress, self.factor, self.ramp))
        pl_module.log_step({"train/dropout_factor": self._now})

    def detach(self, module: ZooModule) -> None:
        super().detach(module)
        self._set(1.0)
        self._rates = []

    def _set(self, factor: float) -> None:
        if factor != self._now:
            for layer, attribute, rate in self._rates:
                setattr(layer, attribute, rate * factor)
            self._now = factor
