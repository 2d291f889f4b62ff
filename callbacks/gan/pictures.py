"""Changes of a whole batch of images on its device that a gradient passes through, each with a draw of its own."""

import torch
from torch import Tensor
from torch.nn import functional as F


def translate(x: Tensor, limit: float) -> Tensor:
    """Shift each image by whole pixels, up to ``limit`` of its size to all sides; black (0 before shifting) comes in.

    Args:
        x: (B, C, H, W).
        limit: in [0, 1).
    """
    size, (height, width) = len(x), x.shape[2:]
    pads = [round(limit * side) for side in (height, width)]
    padded = F.pad(x, (pads[1], pads[1], pads[0], pads[0]))
    rows, columns = (
        torch.randint(2 * pad + 1, (size, 1), device=x.device) + torch.arange(side, device=x.device)
        for pad, side in zip(pads, (height, width))
    )  # (B, H) and (B, W)
    image = torch.arange(size, device=x.device)[:, None, None]
    # The two outer indices come first: (B, H, W, C) -> (B, C, H, W).
    return padded[image, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def flip(x: Tensor, p: float = 0.5) -> Tensor:
    """Mirror each image left to right with probability ``p``."""
    return torch.where(draw(x) < p, x.flip(3), x)


def cutout(x: Tensor, share: float) -> Tensor:
    """Blank a rectangle of ``share`` of the sides of each image, at a place that may lie half outside."""
    masks = []
    for side in x.shape[2:]:
        length = round(share * side)
        centre = torch.randint(side + 1 - length % 2, (len(x), 1), device=x.device)
        offset = torch.arange(side, device=x.device) - (centre - length // 2)
        masks.append((offset >= 0) & (offset < length))  # (B, side)
    hole = masks[0][:, None, :, None] & masks[1][:, None, None, :]  # (B, 1, H, W)
    return x.masked_fill(hole, 0.0)


def draw(x: Tensor) -> Tensor:
    """One number from U[0, 1) for each image, (B, 1, 1, 1)."""
    return torch.rand(len(x), 1, 1, 1, device=x.device)
