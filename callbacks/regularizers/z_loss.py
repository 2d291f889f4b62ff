"""z-loss: keep the normaliser of the softmax near 1, so that logits do not drift away."""

from typing import cast

from torch import Tensor

from callbacks.technique import NoEffect, Technique
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.module import SupervisedModule, ZooModule
from zoo.task import Classification, LanguageModeling, Output, Tagging
from zoo.tasks.step_labels import StepLabels


def z_loss(logits: Tensor, weight: Tensor | None = None) -> Tensor:
    """The mean of log^2 Z with Z = sum_k exp(logit_k), a scalar; in float32.

    The softmax is the same whatever is added to all logits; this is the term that says what. Chowdhery et al., "PaLM:
    scaling language modeling with pathways", 2022, section 5.

    Args:
        logits: (N, num_classes).
        weight: (N,), not negative, with a positive sum; None for equal weights.
    """
    squares = logits.float().logsumexp(1).square()
    return squares.mean() if weight is None else (squares * weight).sum() / weight.sum()


class ZLoss(Technique):
    """Adds ``strength * mean log^2 Z`` to the loss of a classifier or language model, over all steps with a label.

    Args:
        strength: 1e-4 is PaLM's; at 1e-2 and above predictions are changed as well.

    Raises:
        ZooError: a negative strength.
        NoEffect: in a fit, when the strength is 0.
        UnsupportedModule: the task has no classes.
    """

    supports = SupervisedModule
    tasks = (Classification, LanguageModeling, Tagging)

    def __init__(self, strength: float = 1e-4) -> None:
        if strength < 0:
            raise ZooError(f"ZLoss: strength must not be negative, got {strength}")
        self.strength = strength

    def attach(self, module: ZooModule) -> None:
        if self.strength == 0:
            raise NoEffect("ZLoss: strength is 0, which changes nothing; raise it or drop it")
        self.add_penalty(module, self._penalty)

    def _penalty(self, module: ZooModule, batch: Batch, output: Output) -> Tensor:
        task = cast(SupervisedModule, module).task
        if isinstance(task, StepLabels):
            steps = task.valid(output.prediction, batch)
            return self.strength * z_loss(steps.logits, steps.weight)
        logits, weight = output.prediction, batch.weight  # (B, num_classes), or (B, members, num_classes)
        if logits.ndim == 3:
            weight = None if weight is None else weight.repeat_interleave(logits.shape[1])
            logits = logits.flatten(0, 1)
        return self.strength * z_loss(logits, weight)
