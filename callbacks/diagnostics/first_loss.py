"""Does a classifier or language model start at the loss of a guess? Said after the first step."""

import math
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from zoo.errors import ZooError
from zoo.module import SupervisedModule
from zoo.notice import notice
from zoo.tasks.class_labels import ClassLabels


def guess(module: SupervisedModule) -> float | None:
    """The cross-entropy of a uniform guess, ln(classes); None where the loss is another."""
    task = module.task
    plain = isinstance(task, ClassLabels) and isinstance(task.criterion, nn.CrossEntropyLoss)
    return math.log(task.num_classes) if plain and isinstance(task, ClassLabels) else None


class FirstLoss(Callback):
    """Says in one line that the first training loss is far above that of a uniform guess, where it should begin.

    Weights that are too large make a network sure of nonsense, which it first has to unlearn. Weights that were loaded
    or learnt before begin below, which is no fault.

    Args:
        tolerance: share of ln(classes) by which the loss may be higher, positive; 0.15 is what good inits stay within.

    Raises:
        ZooError: a tolerance that is not positive.
    """

    def __init__(self, tolerance: float = 0.15) -> None:
        if tolerance <= 0:
            raise ZooError(f"FirstLoss: tolerance must be positive, got {tolerance}")
        self.tolerance = tolerance

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.fit_loop.total_batch_idx != 0 or not isinstance(pl_module, SupervisedModule):
            return
        expected, loss = guess(pl_module), pl_module.last_loss
        if expected is not None and loss > (1 + self.tolerance) * expected:
            notice(
                f"the first loss is {loss:.2f}, a uniform guess has ln({pl_module.task.num_classes}) = {expected:.2f}:"
                " the network begins sure of nonsense; choose an init with smaller weights in the last layer (GPT-2's"
                " 0.02), and look at penalties"
            )
