"""Binary cross-entropy for one class a sample: every class is a yes or no of its own."""

import torch.nn.functional as F
from torch import Tensor

from zoo.losses.base import ClassificationLoss, Reduction


class BinaryCrossEntropy(ClassificationLoss):
    """Mean over the classes of -y_c log s(z_c) - (1 - y_c) log(1 - s(z_c)), with s the sigmoid, y one-hot or soft.

    Source: Wightman, Touvron and Jegou, "ResNet strikes back", 2021, section 3: with MixUp and CutMix, both classes
    of a mixed image are simply present.

    Args:
        target_threshold: in [0, 1); soft targets above it become 1, the others 0, as the paper has it for mixed
            images; None takes them as they are.
        sum_classes: add the classes up instead of averaging them, which multiplies the loss by their number.
        reduction: over samples.
    """

    soft_targets = True

    def __init__(
        self, target_threshold: float | None = None, sum_classes: bool = False, reduction: Reduction = "mean"
    ) -> None:
        super().__init__(reduction)
        fine = target_threshold is None or 0 <= target_threshold < 1
        self.require(fine, f"target_threshold must lie in [0, 1), got {target_threshold}")
        self.target_threshold, self.sum_classes = target_threshold, sum_classes

    def probabilities(self, logits: Tensor) -> Tensor:
        """Sigmoids, scaled to sum to 1 over the classes."""
        log_p = F.logsigmoid(logits)
        return (log_p - log_p.logsumexp(1, keepdim=True)).exp()

    def per_sample(self, logits: Tensor, target: Tensor) -> Tensor:
        if not target.is_floating_point():
            target = F.one_hot(target, logits.shape[1])
        elif self.target_threshold is not None:
            target = target > self.target_threshold
        losses = F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="none")
        return losses.sum(1) if self.sum_classes else losses.mean(1)
