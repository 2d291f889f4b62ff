"""DropBlock: leave out squares of a feature map, whose pixels know too much of each other to be dropped one by one."""

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.errors import ZooError
from zoo.layers.dropout import DropoutLayer


def drop_block(x: Tensor, p: float, block_size: int, training: bool) -> Tensor:
    """Zero squares of ``block_size`` pixels, in each channel of each image, and divide the rest by 1 - p.

    Ghiasi, Lin and Le, "DropBlock: a regularization method for convolutional networks", 2018, algorithm 1. There the
    rate gamma at which squares begin is an approximation, and squares lie within the map. Here they may overhang its
    edge, so that every pixel is in block_size^2 possible squares and is left out with probability p exactly::

        gamma = 1 - (1 - p)^(1 / block_size^2)

    The rest is divided by the expected share that stays rather than by the share of this batch: the expectation of the
    output is x.

    Args:
        x: (B, C, H, W).
        p: share of pixels that are left out, in [0, 1).
        block_size: side of a square, at least 1 and at most H and W; 1 is dropout.
        training: whether to drop at all.
    """
    if p == 0 or not training:
        return x
    batch, channels, height, width = x.shape
    overhang = block_size - 1
    gamma = 1 - (1 - p) ** (1 / block_size**2)
    # Channels last, as the zoo's convolutions are: in another order the product would cost more than the draw.
    draws = torch.rand(batch, height + overhang, width + overhang, channels, device=x.device).movedim(-1, 1)
    dropped = F.max_pool2d((draws < gamma).to(x.dtype), block_size, stride=1)  # (B, C, H, W)
    return x * dropped.neg_().add_(1).div_(1 - p)


class DropBlock(DropoutLayer):
    """``drop_block`` as a layer.

    Args:
        p: share of pixels that are left out, in [0, 1); 0.05 to 0.2.
        block_size: side of a square in pixels; 7 in the paper for ImageNet, smaller on maps that are. It is cut down to
            the size of the map where that is smaller.
    """

    called = "DropBlock"

    def __init__(self, p: float = 0.0, block_size: int = 3) -> None:
        super().__init__(p)
        if block_size < 1:
            raise ZooError(f"DropBlock: block_size must be at least 1 pixel, got {block_size}")
        self.block_size = block_size

    def forward(self, x: Tensor) -> Tensor:
        return drop_block(x, self.p, min(self.block_size, *x.shape[-2:]), self.training)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, block_size={self.block_size}"
