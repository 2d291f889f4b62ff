"""NT-ASGD: average the weights from the moment at which validation no longer gets better."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer

from callbacks.averaging.late_average import LateAverage
from zoo.errors import ZooError
from zoo.module import ZooModule
from zoo.notice import notice


def is_non_monotonic(losses: list[float], interval: int) -> bool:
    """Whether the last validation loss is worse than the best one that is more than ``interval`` validations old.

    v_t > min(v_0, ..., v_{t-n-1}), with t > n. Merity, Keskar and Socher, "Regularizing and optimizing LSTM language
    models", 2018, algorithm 1.

    Args:
        losses: v_0 ... v_t, in the order in which they were seen.
        interval: n, at least 0; 0 compares with all losses before.
    """
    before = losses[: max(len(losses) - 1 - interval, 0)]
    return bool(before) and losses[-1] > min(before)


class NTASGD(LateAverage):
    """Non-monotonically triggered averaged SGD: the mean of the weights after each step, once validation stalls.

    Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992, average from a step that has to
    be chosen; Merity, Keskar and Socher 2018, section 3, let the validation loss choose it: the first that is worse
    than the best of those more than ``interval`` validations ago. Until then nothing is changed; from then on the mean
    is what is validated, tested and saved, while training goes on with the weights themselves. For SGD at a constant
    learning rate; the trigger is looked at after every validation and is part of the checkpoint.

    Args:
        interval: n, validations in a row that may pass without a gain, at least 0; 5.

    Raises:
        ZooError: a negative interval; in a fit, when there is no validation split.
    """

    def __init__(self, interval: int = 5) -> None:
        if interval < 0:
            raise ZooError(f"NTASGD: interval counts validations and must not be negative, got {interval}; 5 is usual")
        super().__init__()
        self.interval = interval
        self._losses: list[float] = []
        self._triggered = False

    def attach(self, module: ZooModule) -> None:
        """Start anew: the validations of an earlier fit do not count."""
        self._losses, self._triggered = [], False

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        return step_idx is not None and self._triggered

    def why_nothing(self) -> str:
        return f"the validation loss got better within every {self.interval + 1} validations, or the run was too short"

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        if not trainer.enable_validation:
            raise ZooError("NTASGD waits for the validation loss to stall, and this run has no validation; use SWA")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or self._triggered or trainer.state.fn != "fit":
            return
        self._losses.append(trainer.callback_metrics["val/loss"].item())
        if is_non_monotonic(self._losses, self.interval):
            self._triggered = True
            best = min(self._losses)
            notice(
                f"NTASGD: averages from epoch {trainer.current_epoch + 2} on; the validation loss is"
                f" {self._losses[-1]:.4g}, and was {best:.4g} before"
            )

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "losses": self._losses, "triggered": self._triggered}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._losses, self._triggered = list(state_dict["losses"]), state_dict["triggered"]
