"""Pictures as people have them: files, PIL images, arrays and tensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from datamodules.augment import normalize
from datamodules.image_files import read_image
from zoo.errors import DataError
from zoo.preprocessing import Preprocessing

_TAKEN = (
    "give files, PIL images, arrays (H, W), (H, W, C) or (N, H, W, C), or tensors (C, H, W) or (N, C, H, W), of uint8"
    " or of floats in [0, 1]"
)


@dataclass(frozen=True)
class RawImages(Preprocessing):
    """Normalised images (N, C, H, W) from files, PIL images, arrays or tensors; uint8, or floats in [0, 1].

    Arrays have their channels last and tensors have them first, as is usual; grey images may come without. Files and
    PIL images become grey or coloured and are resized; arrays and tensors of another size are too.

    Args:
        outputs: names of the classes.
        channels: 1 or 3.
        size: height and width in pixels.
        mean, std: of each channel, of pixels in [0, 1].
    """

    channels: int
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, raw: Any) -> tuple[Tensor, None]:
        return normalize(self.pixels(raw), self.mean, self.std), None

    def pixels(self, raw: Any) -> Tensor:
        """Images (N, C, H, W) on the scale 0 to 255."""
        if isinstance(raw, str | Path | Image.Image):
            raw = [raw]
        if isinstance(raw, Sequence):
            if not raw:
                raise DataError(f"there is no image; {_TAKEN}")
            return torch.cat([self._picture(one) for one in raw])
        return self._resized(self._batch(raw))

    def _picture(self, one: Any) -> Tensor:
        if isinstance(one, str | Path):
            image = read_image(Path(one), self.size)  # (3, S, S)
            if self.channels == 1:
                image = torch.from_numpy(np.array(_image(image).convert("L")))[None]
            return image[None].float()
        if isinstance(one, Image.Image):
            array = np.array(one.convert("L" if self.channels == 1 else "RGB"))
            return self._resized(self._batch(array))
        return self._resized(self._batch(one))

    def _batch(self, raw: Any) -> Tensor:
        """A batch (N, C, H, W) of floats on the scale 0 to 255 out of one array or tensor."""
        if not isinstance(raw, np.ndarray | Tensor):
            raise DataError(f"{type(raw).__name__} is no image; {_TAKEN}")
        images = raw if isinstance(raw, Tensor) else torch.tensor(raw)
        if isinstance(raw, np.ndarray) and images.ndim >= 3 and images.shape[-1] == self.channels:
            images = images.movedim(-1, -3)
        elif self.channels == 1 and images.ndim in (2, 3) and images.shape[:-2] != (1,):
            images = images.unsqueeze(-3)  # grey, without a dimension for it
        images = images[None] if images.ndim == 3 else images
        if images.ndim != 4 or images.shape[1] != self.channels:
            raise DataError(f"an image has {self.channels} channel(s), got the shape {tuple(raw.shape)}; {_TAKEN}")
        if images.dtype == torch.uint8:
            return images.float()
        if not images.is_floating_point() or not bool(((images >= 0) & (images <= 1)).all()):
            low, high = float(images.min()), float(images.max())
            raise DataError(f"pixels are {images.dtype} from {low:.3g} to {high:.3g}; {_TAKEN}")
        return images.float() * 255

    def _resized(self, images: Tensor) -> Tensor:
        if images.shape[-2:] == (self.size, self.size):
            return images
        return F.interpolate(images, (self.size, self.size), mode="bilinear", antialias=True)


def _image(colours: Tensor) -> Image.Image:
    return Image.fromarray(colours.permute(1, 2, 0).numpy())
