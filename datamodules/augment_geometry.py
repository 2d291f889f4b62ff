"""Where the pixels of a batch come from: flips, crops, boxes and affine maps, each image with its own parameters.

Every function takes uint8 images of shape (N, C, H, W) and returns uint8; parameters are tensors of shape (N, ...) on
the same device. There is no loop over images, and nothing depends on a random number or on the neighbours in the batch.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from zoo.errors import DataError, ZooError

Fill = int | list[int]
"""Grey level in 0..255 for pixels that come from nowhere; a list has one level per channel."""


def check_fill(owner: str, fill: Fill) -> None:
    """Refuse levels that a byte cannot hold.

    Raises:
        ZooError: a level lies outside 0..255, or the list is empty.
    """
    levels = fill if isinstance(fill, list) else [fill]
    if not levels or not all(0 <= level <= 255 for level in levels):
        raise ZooError(f"{owner}: fill is {fill}; give a grey level in 0..255, or a list with one per channel")


def fill_levels(fill: Fill, images: Tensor) -> Tensor:
    """The fill as uint8 of shape (1 or C, 1, 1), beside ``images``.

    Raises:
        DataError: the list has another length than the images have channels.
    """
    if isinstance(fill, list) and len(fill) not in (1, images.shape[1]):
        raise DataError(
            f"fill has {len(fill)} levels, but the images have {images.shape[1]} channels; give one or each"
        )
    return torch.tensor(fill, dtype=torch.uint8, device=images.device).view(-1, 1, 1)


def _paint(images: Tensor, mask: Tensor, fill: Fill) -> Tensor:
    """The fill where ``mask``, bool of shape (N, 1, H, W), is true."""
    # In bits, not with ``torch.where``, which goes through bytes one by one.
    chosen = mask.byte().neg_()  # 255 where true, 0 elsewhere
    return (images & ~chosen).bitwise_or_(fill_levels(fill, images) & chosen)


def horizontal_flip(images: Tensor, flip: Tensor) -> Tensor:
    """Mirror left and right where ``flip``, bool of shape (N,), is true."""
    # Both versions are laid side by side and whole images are picked: a copy of memory, where ``torch.where`` on bytes
    # goes through the pixels one by one and takes several times as long.
    both = torch.stack([images, images.flip(-1)], dim=1).flatten(0, 1)  # (2N, C, H, W)
    return both.index_select(0, 2 * torch.arange(len(images), device=images.device) + flip)


def pad(images: Tensor, padding: int, reflect: bool = False) -> Tensor:
    """Add ``padding`` pixels on all four sides, black or mirrored about the outermost pixel (which is not repeated)."""
    sides = (padding, padding, padding, padding)
    return functional.pad(images, sides, mode="reflect" if reflect else "constant")


def crop(images: Tensor, top: Tensor, left: Tensor, height: int, width: int) -> Tensor:
    """Cut one window of (height, width) out of each image; ``top`` and ``left`` are int64 of shape (N,).

    A row of a window is ``width`` neighbouring bytes, so the batch is seen as one long line, with a window starting at
    every byte, and the rows are picked whole: one copy of memory per row instead of one look-up per pixel.
    """
    count, channels, full_height, full_width = images.shape
    rows = torch.arange(height, device=images.device)
    planes = torch.arange(count * channels, device=images.device).view(count, channels, 1)  # (N, C, 1)
    start = (planes * full_height + top[:, None, None] + rows) * full_width + left[:, None, None]  # (N, C, height)
    line = images.flatten().unfold(0, width, 1)  # (number of bytes - width + 1, width), a view
    return line.index_select(0, start.flatten()).view(count, channels, height, width)


def erase(images: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor, fill: Fill = 0) -> Tensor:
    """Paint one box per image; what of it lies outside the image is cut off, and a height or width of 0 paints nothing.

    Args:
        images: uint8 of shape (N, C, H, W).
        top, left: int64 of shape (N,), may be negative.
        height, width: int64 of shape (N,), 0 or more.
        fill: the grey level, 0..255.
    """
    y = torch.arange(images.shape[2], device=images.device)
    x = torch.arange(images.shape[3], device=images.device)
    in_rows = (y >= top[:, None]) & (y < (top + height)[:, None])  # (N, H)
    in_columns = (x >= left[:, None]) & (x < (left + width)[:, None])  # (N, W)
    box = in_rows[:, None, :, None] & in_columns[:, None, None, :]  # (N, 1, H, W)
    return _paint(images, box, fill)


def resize_boxes(images: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """Enlarge one box per image to the size of the image, bilinear, as if the box had first been cut out.

    Pixel i of the result lies at ``left + (i + 0.5) width / W - 0.5``, held inside the box, so that nothing of the
    picture around it bleeds in. Boxes are never larger than the image, so there is nothing to anti-alias.

    Args:
        images: uint8 of shape (N, C, H, W).
        top, left, height, width: int64 of shape (N,); the box lies inside the image.
    """
    full_height, full_width = images.shape[2:]
    y = _held_inside(top, height, full_height)  # (N, H)
    x = _held_inside(left, width, full_width)  # (N, W)
    y = (2 * y + 1) / full_height - 1  # the unit of grid_sample: -1 and 1 are the outer edges
    x = (2 * x + 1) / full_width - 1
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), dim=-1)  # (N, H, W, 2)
    resized = functional.grid_sample(images.float(), grid, "bilinear", "border", align_corners=False)
    return resized.round_().clamp_(0, 255).to(torch.uint8)


def _held_inside(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Source coordinates (N, size) of the pixels along one axis, clamped to the centres of the box's edge pixels."""
    first, last = start[:, None].float(), (start + length - 1)[:, None].float()
    position = first + (torch.arange(size, device=start.device) + 0.5) * (length[:, None] / size) - 0.5
    return torch.minimum(torch.maximum(position, first), last)


Matrix = tuple[float, float, float, float, float, float]
"""(a, b, c, d, e, f): the target pixel (x, y) shows (ax + by + c, dx + ey + f), seen from the centre."""

IDENTITY: Matrix = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def shear_x_matrix(strength: float, height: int, width: int) -> Matrix:
    """Move row y to the left by ``strength * y``; the top edge stays."""
    return (1.0, strength, strength * height / 2, 0.0, 1.0, 0.0)


def shear_y_matrix(strength: float, height: int, width: int) -> Matrix:
    """Move column x up by ``strength * x``; the left edge stays."""
    return (1.0, 0.0, 0.0, strength, 1.0, strength * width / 2)


def translate_x_matrix(strength: float, height: int, width: int) -> Matrix:
    """Move right by ``strength`` pixels, cut to a whole number."""
    return (1.0, 0.0, -float(int(strength)), 0.0, 1.0, 0.0)


def translate_y_matrix(strength: float, height: int, width: int) -> Matrix:
    """Move down by ``strength`` pixels, cut to a whole number."""
    return (1.0, 0.0, 0.0, 0.0, 1.0, -float(int(strength)))


def rotate_matrix(strength: float, height: int, width: int) -> Matrix:
    """Turn anticlockwise by ``strength`` degrees about the centre."""
    cosine, sine = math.cos(math.radians(strength)), math.sin(math.radians(strength))
    return (cosine, -sine, 0.0, sine, cosine, 0.0)


def matrix_tensor(matrices: Sequence[Matrix]) -> Tensor:
    """Maps as float32 of shape (len(matrices), 2, 3)."""
    return torch.tensor(matrices, dtype=torch.float64).float().view(-1, 2, 3)


def warp(images: Tensor, matrix: Tensor, fill: Fill = 0) -> Tensor:
    """Map each image by its own affine matrix, nearest neighbour; pixels from outside the image get ``fill``.

    Bytes are gathered, not interpolated, so that values stay as they are and the result is the same on every device.

    Args:
        images: uint8 of shape (N, C, H, W).
        matrix: float32 of shape (N, 2, 3), target to source, in pixels from the centre.
        fill: the grey level, 0..255.
    """
    height, width = images.shape[2:]
    x = torch.arange(width, device=images.device) - (width - 1) / 2  # (W,)
    y = torch.arange(height, device=images.device)[:, None] - (height - 1) / 2  # (H, 1)
    m = matrix[..., None, None]  # (N, 2, 3, 1, 1)
    column = (m[:, 0, 0] * x + m[:, 0, 1] * y + m[:, 0, 2] + (width - 1) / 2).round().long()  # (N, H, W)
    row = (m[:, 1, 0] * x + m[:, 1, 1] * y + m[:, 1, 2] + (height - 1) / 2).round().long()
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    source = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    source = source.flatten(1)[:, None].expand(-1, images.shape[1], -1)  # (N, C, H*W)
    moved = images.flatten(2).gather(2, source).view_as(images)
    return _paint(moved, ~inside[:, None], fill)
