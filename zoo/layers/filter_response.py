"""Filter response norm: each channel of each image by its own root mean square, so that no sample needs another."""

import torch
from torch import Tensor, nn


class FilterResponseNorm(nn.Module):
    """gain * x / sqrt(mean over pixels of x^2 + eps) + bias, (B, C, H, W). Singh and Krishnan 2020.

    The paper's activation, max(y, tau) with a learned tau for each channel, is relu(y - tau) + tau: a ReLU
    behind this layer's bias, and a constant that a bias in the next convolution takes up. With ReLU and convolutions
    that keep their bias, as ``make_conv`` builds them, it is therefore in the network already, but for the zeros with
    which an image is padded.

    Args:
        channels: C.
        eps: added to the mean square.
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=(2, 3), keepdim=True)  # (B, C, 1, 1), without a map of squares
        scale = self.weight[:, None, None] * (length.square() / x.shape[2:].numel() + self.eps).rsqrt()
        return torch.addcmul(self.bias[:, None, None], x, scale)

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, eps={self.eps}"
