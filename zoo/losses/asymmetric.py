"""Asymmetric loss: many labels of which few are present, and absent ones that are easy stop counting."""

import torch.nn.functional as F
from torch import Tensor

from zoo.losses.base import MultiLabelLoss, Reduction, power


class Asymmetric(MultiLabelLoss):
    """-y (1 - p)^g+ log p - (1 - y) p_m^g- log(1 - p_m), with p the sigmoid and p_m = max(p - margin, 0).

    Source: Ridnik et al., "Asymmetric Loss For Multi-Label Classification", 2021, eq. 4 to 7; the gradient flows
    through the focusing factors too. With both exponents equal and no margin it is the sigmoid focal loss.

    Args:
        gamma_positive: at least 0, how fast labels that are present and found stop counting; 0 or 1.
        gamma_negative: at least 0, the same for absent labels; 2 to 4, and not below gamma_positive.
        margin: in [0, 1); absent labels below this probability cost nothing; 0 to 0.2. All three at 0 are binary
            cross-entropy.
        reduction: over samples and labels.
    """

    def __init__(
        self,
        gamma_positive: float = 0.0,
        gamma_negative: float = 4.0,
        margin: float = 0.05,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(reduction)
        fine = gamma_positive >= 0 and gamma_negative >= 0
        self.require(fine, f"exponents must be at least 0, got {gamma_positive} and {gamma_negative}")
        self.require(0 <= margin < 1, f"margin must lie in [0, 1), got {margin}")
        self.gamma_positive, self.gamma_negative, self.margin = gamma_positive, gamma_negative, margin

    def per_label(self, logits: Tensor, target: Tensor) -> Tensor:
        present, absent = logits.sigmoid(), (-logits).sigmoid()
        shifted = (present - self.margin).clamp_min(0)
        log_absent = (absent + self.margin).clamp_max(1).log() if self.margin else F.logsigmoid(-logits)
        positive = power(absent, self.gamma_positive) * F.logsigmoid(logits)
        negative = power(shifted, self.gamma_negative) * log_absent
        return -target * positive - (1 - target) * negative
