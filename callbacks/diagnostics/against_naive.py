"""Is the network any better than an answer that needs none? Said while there is time to stop the run."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from zoo.errors import ZooError
from zoo.kept import validation_batches
from zoo.module import SupervisedModule
from zoo.notice import notice
from zoo.task import Forecasting, Task


class AgainstNaive(Callback):
    """Says once, in one line, that validation is worse than what the task calls naive, after a share of the run.

    Naive are a forecast that repeats the last value or the last season, a constant answer, every token as often as in
    training: what ``zoo test`` prints beside each score. The run goes on. Where nobody knows how long it is
    (``max_epochs=-1``), nothing is said.

    Args:
        after: share of the optimizer steps that the network has to become better, in [0, 1].
    """

    def __init__(self, after: float = 0.2) -> None:
        if not 0 <= after <= 1:
            raise ZooError(f"AgainstNaive: after must lie in [0, 1], got {after}")
        self.after = after
        self._best: tuple[str, float] | None = None
        self._done = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._best, self._done = None, False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Here, for in on_validation_epoch_end the module has logged nothing yet.
        fitting = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        if self._done or not fitting or not isinstance(pl_module, SupervisedModule):
            return
        share = trainer.global_step / trainer.estimated_stepping_batches
        task = pl_module.task
        value = trainer.callback_metrics.get(f"val/{task.monitor}")
        if share < self.after or value is None or share == 0:
            return
        if self._best is None:
            self._best = _best_naive(trainer, pl_module)
        if self._best is None:
            self._done = True
            return
        name, reached = self._best
        if (float(value) > reached) if task.mode == "min" else (float(value) < reached):
            self._done = True
            notice(
                f"after {share:.0%} of the run validation is worse than {name}: {task.monitor} {float(value):.4g}"
                f" against {reached:.4g}; {_what_to_try(task)}"
            )


def _best_naive(trainer: Trainer, module: SupervisedModule) -> tuple[str, float] | None:
    """The best naive answer on the validation split, of all processes: its name and the monitored metric."""
    targets, task = getattr(trainer.datamodule, "train_targets", None), module.task  # type: ignore[attr-defined]
    if not isinstance(targets, Tensor):
        return None
    with isolate_rng(include_cuda=False), torch.no_grad():
        scores = task.naive(targets, validation_batches(trainer))
    found = {
        name: float(trainer.strategy.reduce(torch.tensor(metrics[task.monitor]), reduce_op="mean"))
        for name, metrics in scores.items()
        if task.monitor in metrics
    }
    best = min if task.mode == "min" else max
    return best(found.items(), key=lambda item: item[1]) if found else None


def _what_to_try(task: Task) -> str:
    if isinstance(task, Forecasting):
        return (
            "try a lower learning rate, normalization=last or revin where the level wanders, a window that holds a"
            " season, or a linear model first (DLinear, NLinear)"
        )
    return "try another learning rate, a smaller model first, and look at the labels of a few samples"
