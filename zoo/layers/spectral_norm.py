"""Spectral norm: divide a weight by its largest singular value."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SpectralNorm(nn.Module):
    """The parametrisation W -> W / sigma(W) of a weight (out, ...), whose filters count as rows of a matrix.

    Miyato, Kataoka, Koyama and Yoshida, "Spectral normalization for generative adversarial networks", 2018,
    algorithm 1: sigma = |W v| with v = W^T u / |W^T u|, and one step of the power iteration for u in each training
    pass. Unlike torch's own it takes that step in evaluation too, without keeping it: where u belongs to other weights,
    as after an average of weights and of u, the estimate stays close to sigma instead of falling far below it.

    Args:
        weight: what is parametrised; u starts at its first left singular vector, nearly.
        iterations: steps of the power iteration at the start.
    """

    u: Tensor

    def __init__(self, weight: Tensor, iterations: int = 15) -> None:
        super().__init__()
        u = torch.randn(len(weight), dtype=weight.dtype, device=weight.device)
        self.register_buffer("u", F.normalize(u, dim=0))
        for _ in range(iterations):
            self(weight.detach())

    def forward(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):  # in bfloat16 the iteration would lose its way
            matrix = weight.flatten(1)
            with torch.no_grad():
                v = F.normalize(matrix.T @ self.u, dim=0)
                u = F.normalize(matrix @ v, dim=0)
                if self.training:
                    self.u.copy_(u)
            return weight / torch.dot(u, matrix @ v)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """What is stored when the weight is set."""
        return weight
