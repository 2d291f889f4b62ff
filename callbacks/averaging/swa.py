"""Stochastic weight averaging: the plain mean of the weights of the last part of a run."""

from typing import Literal

from callbacks.averaging.late_average import LateAverage
from zoo.errors import ZooError


class SWA(LateAverage):
    """Average the weights over the last share of the run, every point with the same weight: m <- (n m + w) / (n + 1).

    Izmailov, Podoprikhin, Garipov, Vetrov and Wilson, "Averaging weights leads to wider optima and better
    generalization", 2018, algorithm 1. Before that share begins nothing is changed; from then on the average is what
    is validated, tested and saved. Batch norm's running statistics belong to weights that no step ever had, so they
    are recomputed from the training data before each validation and at the end.

    Args:
        start: share of the run after which averaging begins, in [0, 1).
        every: take in the weights at the end of each "epoch", as the paper does, or after each "step".
        recalibrate: recompute the statistics of batch norm; without it they are averaged like weights.
    """

    def __init__(
        self, start: float = 0.75, every: Literal["epoch", "step"] = "epoch", recalibrate: bool = True
    ) -> None:
        if not 0 <= start < 1:
            raise ZooError(f"SWA: start is a share of the run in [0, 1), got {start}; 0.5 to 0.9 are usual")
        super().__init__(recalibrate)
        self.start, self.every = start, every

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        # Within on_train_batch_end, so that the last weights of an epoch are in before it is validated and saved.
        if step_idx is None or self._trainer is None:
            return False
        total = float(self._trainer.estimated_stepping_batches)
        if total == float("inf"):
            raise ZooError("SWA has to know the length of the run; set max_epochs or max_steps")
        last = self._trainer.is_last_batch or step_idx + 1 >= total
        return step_idx + 1 >= self.start * total and (self.every == "step" or last)

    def why_nothing(self) -> str:
        return f"the run ended before {self.start:.0%} of its steps"
