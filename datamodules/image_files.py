"""Pictures in files as uint8 tensors of one size; a file that cannot be read is named."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset

from zoo.errors import DataError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})


def image_paths(folder: Path) -> list[Path]:
    """All pictures in ``folder`` and below, sorted; hidden files and folders and other suffixes are passed over."""
    found = [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()]
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def read_image(path: Path, size: int) -> Tensor:
    """Decode one picture: upright, in colour, short side resized (bilinear, anti-aliased), centre cut out.

    A photo is turned as its EXIF note says, grey becomes colour, 16-bit grey keeps its high byte, transparent parts
    become white, and of an animation the first frame is taken.

    Args:
        path: a file in a format that Pillow reads.
        size: height and width of the result, in pixels.

    Returns:
        uint8 of shape (3, size, size).

    Raises:
        DataError: the file is no picture or is cut short.
    """
    try:
        with Image.open(path) as image:
            image.draft("RGB", (2 * size, 2 * size))  # a large JPEG is decoded at a half, a quarter or an eighth
            picture = _colour(ImageOps.exif_transpose(image))
    # What Pillow raises for unknown formats, short files, broken chunks and pictures of absurd size.
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"cannot read the image {path} ({reason}); replace or remove it") from error
    width, height = picture.size
    scale = size / min(width, height)
    if scale != 1:
        # The long side is cut to whole pixels, as torchvision's Resize does.
        shape = (max(size, int(width * scale)), max(size, int(height * scale)))
        picture = picture.resize(shape, Image.Resampling.BILINEAR)
    left, top = round((picture.width - size) / 2), round((picture.height - size) / 2)
    picture = picture.crop((left, top, left + size, top + size))
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()  # (S, S, 3) -> (3, S, S)


def read_images(paths: Sequence[Path], size: int) -> Tensor:
    """Decode many pictures, several at a time since Pillow's decoders run beside each other; (N, 3, size, size)."""
    images = torch.empty(len(paths), 3, size, size, dtype=torch.uint8)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for place, image in enumerate(pool.map(read_image, paths, [size] * len(paths))):
            images[place] = image
    return images


class FileSplit(Dataset[tuple[Tensor, ...]]):
    """A split that is read from its files batch by batch: ``split[indices] -> (x, y, indices)``.

    Args:
        paths: one picture a sample.
        y: labels, (N,).
        size: height and width that the pictures are brought to.
    """

    def __init__(self, paths: Sequence[Path], y: Tensor, size: int) -> None:
        self.paths, self.y, self.size = paths, y, size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, indices: Tensor) -> tuple[Tensor, ...]:
        x = torch.stack([read_image(self.paths[i], self.size) for i in indices.tolist()])
        return x, self.y[indices], indices


def pixel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of (N, C, H, W) uint8, scaled to [0, 1].

    Taken from counts of the 256 grey levels: exact, and without a copy of the images as floats. A channel of a single
    grey level gets a deviation of 1.
    """
    level = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    for channel in images.unbind(1):
        share = torch.bincount(channel.flatten(), minlength=256).double() / channel.numel()
        mean = float((share * level).sum())
        means.append(mean)
        stds.append(float((share * (level - mean) ** 2).sum().sqrt()) or 1.0)
    return tuple(means), tuple(stds)


def _colour(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip at 255
        levels = np.asarray(image, dtype=np.int64).clip(0, 65535) >> 8
        return Image.fromarray(levels.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return image.convert("RGB")
