"""MixUp: train on weighted means of two samples and of their targets."""

import torch
from torch import Tensor

from callbacks.augmentation.mixing import BatchMixing, blend, draw_share, mix_targets
from zoo.batch import Batch
from zoo.module import SupervisedModule
from zoo.task import Task


def mixup(batch: Batch, task: Task, permutation: Tensor, share: Tensor) -> Batch:
    """x~ = l x_i + (1 - l) x_j and y~ = l y_i + (1 - l) y_j. Zhang et al. 2018, eq. 1-2.

    Args:
        batch: x floats (B, ...); y classes (B,), soft targets (B, num_classes) or real values (B, ...).
        task: says what the targets are.
        permutation: int64 (B,), j for each i.
        share: l in [0, 1], one number () or one a sample (B,).

    Returns:
        the mixed batch; y is then (B, num_classes) for classes.
    """
    return mix_targets(batch, task, permutation, share)._replace(x=blend(batch.x, permutation, share))


class MixUp(BatchMixing):
    """Mix each sample with another of its batch: inputs and targets with the same share l ~ Beta(alpha, alpha).

    Zhang, Cisse, Dauphin and Lopez-Paz, "mixup: Beyond empirical risk minimization", 2018. Classes become exact soft
    targets; real targets are mixed linearly, which is the same before and after they are standardised.

    Args:
        alpha: 0 mixes nothing, 1 draws shares uniformly, larger values push them to one half.
        p: probability in [0, 1] that a batch is mixed.
        per_sample: draw a share for each sample instead of one for the batch.
    """

    def __init__(self, alpha: float = 0.2, p: float = 1.0, per_sample: bool = False) -> None:
        super().__init__(alpha, p)
        self.per_sample = per_sample

    def mix(self, module: SupervisedModule, batch: Batch, permutation: Tensor) -> Batch:
        share = draw_share(self.alpha, batch.size) if self.per_sample else draw_share(self.alpha)
        with torch.no_grad():
            return mixup(batch, module.task, permutation, share)
