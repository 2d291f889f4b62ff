"""One prediction out of several: what members, views or stochastic passes say together."""

import math

from torch import Tensor
from torch.nn import functional as F

from zoo.losses.base import ClassificationLoss
from zoo.tasks.base import Task
from zoo.tasks.classification import Classification
from zoo.tasks.multi_label import MultiLabel


def combine(task: Task, members: Tensor) -> Tensor:
    """The raw prediction (B, out) that decodes to the mean of what members (B, k, out) predict.

    Probabilities are averaged as such: log-sum-exp of log-probabilities. Where a loss gives its outputs another meaning
    than a softmax (bi-tempered, LDAM, binary cross-entropy over classes) and for regression raw outputs are averaged.
    """
    if isinstance(task, Classification):
        loss = task.criterion
        if not isinstance(loss, ClassificationLoss) or type(loss).probabilities is ClassificationLoss.probabilities:
            return members.float().log_softmax(-1).logsumexp(1) - math.log(members.shape[1])
    if isinstance(task, MultiLabel):
        logits = members.float()
        return F.logsigmoid(logits).logsumexp(1) - F.logsigmoid(-logits).logsumexp(1)
    return members.mean(1)
