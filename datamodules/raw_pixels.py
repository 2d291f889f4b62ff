"""Pictures as people have them, for networks that read one pixel or row after the other."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from datamodules.augment import normalize
from datamodules.raw_images import RawImages


@dataclass(frozen=True)
class RawPixels(RawImages):
    """Normalised pixels as sequences (N, T, pixels of a step), of what ``RawImages`` takes.

    Args:
        outputs, channels, size, mean, std: see RawImages.
        each: pixels of a step.
        order: int64, the place in the picture of each pixel that is read; None reads row by row.
    """

    each: int
    order: Tensor | None

    def __call__(self, raw: Any) -> tuple[Tensor, None]:
        return pixel_steps(normalize(self.pixels(raw), self.mean, self.std), self.each, self.order), None


def pixel_steps(images: Tensor, each: int, order: Tensor | None) -> Tensor:
    """Images (N, C, H, W) as sequences (N, T, each)."""
    x = images.flatten(1)
    if order is not None:
        x = x[:, order.to(x.device)]
    return x.view(len(x), -1, each)
