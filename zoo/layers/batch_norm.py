"""Batch norms that take their statistics from more, or from fewer, samples than a process has in its batch."""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from zoo.errors import ZooError


class SyncBatchNorm(nn.SyncBatchNorm):
    """Batch norm over the samples of all processes, (B, C, ...); with one process it is batch norm.

    Raises:
        ZooError: in training with several processes on a CPU, for which torch has no such kernel.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.device.type == "cpu" and dist.is_initialized() and dist.get_world_size() > 1:
            raise ZooError(
                "norm=sync_batch needs a GPU when there are several processes; choose batch or group, or one process"
            )
        return super().forward(x)


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
        return f"{super().extra_repr()}, ghost_size={self.ghost_size}"
