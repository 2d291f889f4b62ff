"""Confidence penalty: reward a classifier for not being too sure."""

from torch import Tensor
from torch.nn import functional as F

from callbacks.technique import NoEffect, Technique
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.module import SupervisedModule, ZooModule
from zoo.task import Classification, Output


def entropy(logits: Tensor) -> Tensor:
    """Entropy of the predicted distribution, H = - sum_k p_k log p_k, in nats, in [0, log num_classes].

    Args:
        logits: (B, num_classes, ...), the classes in dimension 1.

    Returns:
        (B, ...).
    """
    log_p = F.log_softmax(logits.float(), dim=1)
    return -(log_p.exp() * log_p).sum(1)


class ConfidencePenalty(Technique):
    """Adds ``- strength * H(p(y|x))`` to the loss of a classifier, averaged over the batch.

    Pereyra et al., "Regularizing neural networks by penalizing confident output distributions", 2017, eq. 2. Label
    smoothing is its sibling with the divergence taken in the other direction.

    Args:
        strength: beta of the paper, positive; 0.1 is usual, above 1 the prediction stays near uniform.

    Raises:
        ZooError: a negative strength.
        NoEffect: in a fit, when the strength is 0.
        UnsupportedModule: the task is no classification.
    """

    supports = SupervisedModule
    tasks = (Classification,)

    def __init__(self, strength: float = 0.1) -> None:
        if strength < 0:
            raise ZooError(f"ConfidencePenalty: strength must not be negative, got {strength}")
        self.strength = strength

    def attach(self, module: ZooModule) -> None:
        if self.strength == 0:
            raise NoEffect("ConfidencePenalty: strength is 0, which changes nothing; raise it or drop it")
        self.add_penalty(module, self._penalty)

    def _penalty(self, module: ZooModule, batch: Batch, output: Output) -> Tensor:
        entropies = entropy(output.prediction).reshape(batch.size, -1).mean(1)  # (B,)
        if batch.weight is None:
            return -self.strength * entropies.mean()
        return -self.strength * (entropies * batch.weight).sum() / batch.weight.sum()
