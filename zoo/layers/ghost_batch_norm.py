"""Ghost batch norm: statistics of parts of a batch, for the noise that small batches have."""

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from zoo.errors import ZooError


class GhostBatchNorm(_BatchNorm):
    """Batch norm within virtual batches of ``ghost_size`` samples, (B, C, ...); in evaluation it is batch norm.

    Hoffer, Hubara and Soudry, "Train longer, generalize better", 2017, algorithm 1: every virtual batch is normalised
    by its own mean and variance, and moves the running statistics, one after the other. A batch that the size does not
    divide is cut into parts that differ by one sample at most, so that none is left with a single one.

    Args:
        num_features: C.
        ghost_size: samples of a virtual batch, at least 2; smaller is noisier. Batches up to this size stay whole.
    """

    def __init__(self, num_features: int, ghost_size: int = 32) -> None:
        super().__init__(num_features)
        if ghost_size < 2:
            raise ZooError(f"GhostBatchNorm: ghost_size must be at least 2 samples, got {ghost_size}")
        self.ghost_size = ghost_size

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or len(x) <= self.ghost_size:
            return super().forward(x)
        parts = min(-(-len(x) // self.ghost_size), len(x) // 2)
        return torch.cat([super(GhostBatchNorm, self).forward(part) for part in x.tensor_split(parts)])

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ZooError(f"GhostBatchNorm takes (B, C, ...), got the shape {tuple(input.shape)}")

    def extra_repr(self) -> str:
        return f"{self.num_features}, ghost_size={self.ghost_size}"
