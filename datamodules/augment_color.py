"""What the pixel values of a batch become: brightness, contrast and the like, each image with its own strength.

Every function takes uint8 images of shape (N, C, H, W) with C 1 or 3 and returns uint8, and follows the definitions of
torchvision's uint8 kernels, so that published policies keep their meaning: results of a blend are cut, not rounded.
A ``factor`` is float32 of shape (N,), 0 or more; 1 leaves the image as it is.

Sums over an image are sums of integers, so an image's result does not depend on the batch that it is in.
"""

import torch
from torch import Tensor
from torch.nn import functional

# Luma of ITU-R BT.601 in ten-thousandths, rounded as in torchvision: sums of whole numbers, exact in float32.
_RED, _GREEN, _BLUE = 2989, 5870, 1140


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """``factor * image``: 0 is black."""
    return (images * _per_image(factor)).clamp_(0, 255).to(torch.uint8)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """``factor * image + (1 - factor) * grey image``: 0 is grey; an image of one channel is returned as it is."""
    return images if images.shape[1] == 1 else _blend(images, _grey(images), factor)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """``factor * image + (1 - factor) * mean of the grey image``: 0 is one flat grey."""
    grey = _grey(images)
    mean = grey.int().sum(dim=(1, 2, 3), keepdim=True) / grey[0].numel()  # (N, 1, 1, 1)
    return _blend(images, mean, factor)


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """``factor * image + (1 - factor) * smoothed image``: 0 is smooth, above 1 is sharp; the outermost pixels stay.

    The smoothing kernel is ((1, 1, 1), (1, 5, 1), (1, 1, 1)) / 13. An image with a side below 3 has no inner pixel.
    """
    if min(images.shape[2:]) < 3:
        return images
    inner = images[..., 1:-1, 1:-1].float()
    box = functional.avg_pool2d(images.float(), 3, stride=1, divisor_override=1)  # the sum of 3 x 3 neighbours
    smooth = ((box + 4 * inner) / 13).round_()
    sharpened = images.clone()
    sharpened[..., 1:-1, 1:-1] = _blend(inner, smooth, factor)
    return sharpened


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keep the highest ``bits`` bits of every value; ``bits`` has shape (N,), whole numbers in 0..8; 8 keeps all."""
    mask = (255 << (8 - bits.long())) & 255
    return images & mask.to(torch.uint8).view(-1, 1, 1, 1)


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Invert the values at or above ``threshold``, float32 of shape (N,) in units of grey levels; 256 inverts none."""
    return torch.where(images >= _per_image(threshold), images.bitwise_not(), images)


def autocontrast(images: Tensor) -> Tensor:
    """Stretch each channel of each image to the range 0..255; a channel of one value stays."""
    low = images.amin(dim=(2, 3), keepdim=True)  # (N, C, 1, 1)
    span = (images.amax(dim=(2, 3), keepdim=True) - low).float()
    stretched = (images - low) / (span * (1 / 255)).clamp_(min=1 / 255)
    return torch.where(span > 0, stretched.clamp_(0, 255).to(torch.uint8), images)


def equalize(images: Tensor) -> Tensor:
    """Spread the values of each channel evenly over 0..255, by the histogram rule of the Python Imaging Library.

    With ``step = (pixels - pixels of the largest value) // 255``, value k becomes
    ``(pixels below k + step // 2) // step``, at most 255; a channel with step 0 stays.
    """
    count, channels, height, width = images.shape
    value = images.reshape(count * channels, height * width).long()  # (R, P): one line per channel of an image
    line = torch.arange(len(value), device=images.device)[:, None] * 256
    histogram = torch.bincount((value + line).flatten(), minlength=256 * len(value)).view(-1, 256)  # (R, 256)
    largest = histogram.gather(1, value.amax(dim=1, keepdim=True))  # (R, 1)
    step = (height * width - largest) // 255
    below = histogram.cumsum(dim=1) - histogram
    table = ((below + step // 2) // step.clamp(min=1)).clamp_(max=255)
    table = torch.where(step > 0, table, torch.arange(256, device=images.device))
    return table.gather(1, value).to(torch.uint8).view_as(images)


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def _grey(images: Tensor) -> Tensor:
    """Luma in whole grey levels, float32 of shape (N, 1, H, W)."""
    if images.shape[1] == 1:
        return images.float()
    red, green, blue = images.unbind(1)
    luma = red.float() * _RED + green.float() * _GREEN + blue.float() * _BLUE
    return (luma / 10000).floor_()[:, None]


def _blend(first: Tensor, second: Tensor, factor: Tensor) -> Tensor:
    """``factor * first + (1 - factor) * second``, cut to 0..255 and to whole grey levels; ``second`` is float32."""
    # Written as a difference, which is exact where both are equal: else rounding errors would cut off a whole level.
    return (first + (second - first) * (1 - _per_image(factor))).clamp_(0, 255).to(torch.uint8)
