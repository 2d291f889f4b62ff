"""Focal loss: cross-entropy that looks away from what is already right."""

import torch
from torch import Tensor

from zoo.losses.base import PerClassLoss, Reduction, power


class Focal(PerClassLoss):
    """l_c = -alpha_c (1 - p_c)^gamma log p_c, with p the softmax of the logits.

    Source: Lin, Goyal, Girshick, He and Dollar, "Focal Loss for Dense Object Detection", 2017, eq. 4 and 5; there p
    is a sigmoid, to which this is equal for two classes. For independent labels see ``Asymmetric``.

    Args:
        gamma: at least 0; 0 is cross-entropy, 2 the paper's choice; the higher, the less easy samples count.
        alpha: one positive weight a class; None for equal weights.
        reduction: over samples.
    """

    alpha: Tensor | None

    def __init__(self, gamma: float = 2.0, alpha: list[float] | None = None, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)
        self.require(gamma >= 0, f"gamma must be at least 0, got {gamma}")
        self.require(alpha is None or min(alpha, default=0) > 0, f"alpha must be positive, got {alpha}")
        self.gamma = gamma
        self.register_buffer("alpha", None if alpha is None else torch.tensor(alpha))

    def set_num_classes(self, num_classes: int) -> None:
        entries = num_classes if self.alpha is None else len(self.alpha)
        self.require(entries == num_classes, f"alpha has {entries} entries for {num_classes} classes")

    def class_losses(self, logits: Tensor) -> Tensor:
        log_p = logits.log_softmax(1)
        losses = -power(-log_p.expm1(), self.gamma) * log_p
        return losses if self.alpha is None else losses * self.alpha
