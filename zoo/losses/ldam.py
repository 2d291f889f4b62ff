"""LDAM: rare classes are asked for a wider margin."""

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.losses.base import ClassificationLoss, Reduction
from zoo.losses.class_counts import ClassCounts


class LDAM(ClassificationLoss):
    """Cross-entropy of s z after delta_y was taken off the logit of the true class y; delta_c ~ n_c^(-1/4).

    Hard labels only: a margin belongs to one true class.

    Source: Cao, Wei, Gaidon, Arechiga and Ma, "Learning Imbalanced Datasets with Label-Distribution-Aware Margin
    Loss", 2019, eq. 13 and 14. The paper's deferred re-weighting is not part of it.

    Args:
        max_margin: the margin of the rarest class, in units of the logits, at least 0; 0 is cross-entropy.
        scale: s, positive; 1 for an ordinary linear head, 30 where logits are cosines as in the paper's experiments.
        class_counts: training samples of each class; None to count them.
        reduction: over samples.
    """

    def __init__(
        self,
        max_margin: float = 0.5,
        scale: float = 1.0,
        class_counts: list[int] | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(reduction)
        self.require(max_margin >= 0, f"max_margin must be at least 0, got {max_margin}")
        self.require(scale > 0, f"scale must be positive, got {scale}")
        self.max_margin, self.scale = max_margin, scale
        self.counts = ClassCounts("LDAM", class_counts)

    def set_num_classes(self, num_classes: int) -> None:
        self.counts.set_num_classes(num_classes)

    def fit_targets(self, y: Tensor) -> None:
        self.counts.fit(y)

    def probabilities(self, logits: Tensor) -> Tensor:
        return (self.scale * logits).softmax(1)

    def per_sample(self, logits: Tensor, target: Tensor) -> Tensor:
        counts = self.counts()
        margins = self.max_margin * (counts.min() / counts) ** 0.25
        offset = torch.zeros_like(logits).scatter(1, target[:, None], margins.to(logits.dtype)[target][:, None])
        return F.cross_entropy(self.scale * (logits - offset), target, reduction="none")
