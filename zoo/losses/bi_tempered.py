"""Bi-tempered logistic loss: bounded against wrong labels far away, heavy-tailed against wrong labels nearby."""

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.losses.base import ClassificationLoss, Reduction

_NEWTON_STEPS = 12  # log-sum is convex in the normaliser and steps come from the left, so that they never overshoot


def tempered_log_softmax(logits: Tensor, t: float) -> Tensor:
    """log p with p_c = exp_t(z_c - lambda) and sum_c p_c = 1, along dimension 1, for a temperature t >= 1.

    exp_t(x) = (1 + (1 - t) x)^(1 / (1 - t)), which is exp at t = 1 and falls like a power of x above. lambda has no
    closed form: it is found by Newton's method, whose last step alone carries the gradient, d lambda / d z_c =
    p_c^t / sum_k p_k^t.

    Source: Amid, Warmuth, Anil and Koren, "Robust Bi-Tempered Logistic Loss Based on Bregman Divergences", 2019,
    eq. 4 and 5 (their fixed-point iteration replaced).
    """
    if t == 1:
        return logits.log_softmax(1)
    with torch.no_grad():
        normaliser = logits.amax(1, keepdim=True)
        for _ in range(_NEWTON_STEPS):
            log_p = _log_exp_t(logits - normaliser, t)
            log_sum = log_p.logsumexp(1, keepdim=True)
            normaliser = normaliser + log_sum * (log_sum - (t * log_p).logsumexp(1, keepdim=True)).exp()
        slope = (t * _log_exp_t(logits - normaliser, t)).exp().sum(1, keepdim=True)
    normaliser = normaliser + (_log_exp_t(logits - normaliser, t).exp().sum(1, keepdim=True) - 1) / slope
    return _log_exp_t(logits - normaliser, t)


def _log_exp_t(x: Tensor, t: float) -> Tensor:
    # Rounding may lift x above 0 by a little, never to the pole at 1 / (t - 1).
    return -torch.log1p((t - 1) * -x) / (t - 1)


def _log_t(log_x: Tensor, t: float) -> Tensor:
    """log_t x = (x^(1 - t) - 1) / (1 - t) of log x."""
    return log_x if t == 1 else ((1 - t) * log_x).expm1() / (1 - t)


class BiTempered(ClassificationLoss):
    """sum_c y_c (log_t1 y_c - log_t1 p_c) - (y_c^(2 - t1) - p_c^(2 - t1)) / (2 - t1), p the t2-tempered softmax.

    Soft targets enter the formula as they are; it is not linear in them.

    Source: Amid et al. 2019 (see ``tempered_log_softmax``), eq. 6.

    Args:
        t1: in [0, 1]; below 1 the loss is bounded, so that a far outlier cannot take over.
        t2: at least 1; above 1 the softmax has a heavy tail, so that a wrong label near the boundary pulls less.
            Both at 1 are cross-entropy (less the entropy of soft targets).
        reduction: over samples.
    """

    soft_targets = True

    def __init__(self, t1: float = 0.8, t2: float = 1.2, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)
        self.require(0 <= t1 <= 1, f"t1 must lie in [0, 1], got {t1}")
        self.require(t2 >= 1, f"t2 must be at least 1, got {t2}")
        self.t1, self.t2 = t1, t2

    def probabilities(self, logits: Tensor) -> Tensor:
        return tempered_log_softmax(logits, self.t2).exp()

    def per_sample(self, logits: Tensor, target: Tensor) -> Tensor:
        y = target if target.is_floating_point() else F.one_hot(target, logits.shape[1])
        y = y.to(logits.dtype)
        log_p, rest = tempered_log_softmax(logits, self.t2), 2 - self.t1
        log_y = y.clamp_min(torch.finfo(y.dtype).tiny).log()  # finite, since 0 log_t 0 is 0
        divergence = y * (_log_t(log_y, self.t1) - _log_t(log_p, self.t1))
        return (divergence - (y**rest - (rest * log_p).exp()) / rest).sum(1)
