"""How good the intervals are that a network gives: how often they hold the target, and how wide they are."""

import torch
from torch import Tensor
from torchmetrics import Metric


class IntervalCoverage(Metric):
    """Share of targets that lie in their interval; to be compared with the probability that the interval promises."""

    is_differentiable = False
    higher_is_better: bool | None = None
    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor, low: Tensor, high: Tensor) -> None:
        """Take in predictions (B, T), targets (B, T) and both ends (B, T), in one unit."""
        self.total += self.measure(target, low, high).sum()
        self.count += target.numel()

    def measure(self, target: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """One value a target, (B, T)."""
        return (low <= target) & (target <= high)

    def compute(self) -> Tensor:
        return (self.total / self.count).float()


class IntervalWidth(IntervalCoverage):
    """Mean width of the intervals, in the targets' units: of two with the right coverage the narrower is better."""

    higher_is_better = False

    def measure(self, target: Tensor, low: Tensor, high: Tensor) -> Tensor:
        return high - low
