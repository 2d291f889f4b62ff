from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from datamodules.image_files import FileSplit, image_paths, pixel_statistics, read_image, read_images
from zoo.errors import DataError


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize(("height", "width"), [(40, 61), (61, 40), (33, 33), (16, 31), (10, 7), (16, 16)])
def test_equals_torchvision_resize_and_centre_crop(tmp_path: Path, height: int, width: int) -> None:
    image = Image.fromarray(noise(height, width))
    image.save(tmp_path / "x.png")
    expected = v2.functional.center_crop(v2.functional.resize(image, [16]), [16])
    assert torch.equal(read_image(tmp_path / "x.png", 16), v2.functional.pil_to_tensor(expected))


def test_grey_palette_and_transparent_become_colour(tmp_path: Path) -> None:
    grey = noise(8, 8, 1)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey).save(tmp_path / "grey.tif")
    Image.fromarray(grey).convert("P").save(tmp_path / "palette.gif")
    Image.fromarray(grey.astype(np.uint16) * 256 + 77).save(tmp_path / "deep.png")
    for name in ("grey.png", "grey.tif", "palette.gif", "deep.png"):
        assert torch.equal(read_image(tmp_path / name, 8), torch.from_numpy(grey).expand(3, 8, 8)), name

    rgba = noise(8, 8, 4)
    rgba[..., 3] = np.where(np.arange(8) < 4, 0, 255)  # the left half is transparent
    Image.fromarray(rgba).save(tmp_path / "alpha.png")
    x = read_image(tmp_path / "alpha.png", 8)
    assert (x[:, :, :4] == 255).all()
    assert torch.equal(x[:, :, 4:], torch.from_numpy(rgba).permute(2, 0, 1)[:3, :, 4:])


def test_photo_is_turned_upright(tmp_path: Path) -> None:
    image = Image.fromarray(noise(8, 8))
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: the camera was held on its side
    image.save(tmp_path / "turned.png", exif=exif)
    image.save(tmp_path / "plain.png")
    turned, plain = (read_image(tmp_path / f"{name}.png", 8) for name in ("turned", "plain"))
    assert torch.equal(turned, plain.rot90(-1, (1, 2)))


def test_large_jpeg_is_close_to_its_full_decode(tmp_path: Path) -> None:
    y, x = np.mgrid[0:600, 0:800]
    smooth = np.stack([x / 800, y / 600, (x + y) / 1400], -1) * 255
    Image.fromarray(smooth.astype(np.uint8)).save(tmp_path / "x.jpg", quality=95)
    full = Image.open(tmp_path / "x.jpg")
    expected = v2.functional.pil_to_tensor(v2.functional.center_crop(v2.functional.resize(full, [32]), [32]))
    assert (read_image(tmp_path / "x.jpg", 32).int() - expected.int()).abs().max() <= 2


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_unreadable_file_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(noise(64, 64)).save(path)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"no picture"):
        path.write_bytes(content)
        with pytest.raises(DataError) as caught:
            read_images([path], 16)
        text = str(caught.value)
        assert text.startswith(f"cannot read the image {path} (")
        assert text.endswith("); replace or remove it")
        assert "\n" not in text


def test_paths_are_sorted_and_only_pictures(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "deep/c.webp", "notes.txt", ".hidden.png", ".cache/d.png", "Thumbs.db"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [str(path.relative_to(tmp_path)) for path in image_paths(tmp_path)] == ["a.JPG", "b.png", "deep/c.webp"]


def test_split_of_files_equals_the_one_in_memory(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(6)]
    for i, path in enumerate(paths):
        Image.fromarray(noise(12, 9, seed=i)).save(path)
    memory = read_images(paths, 8)
    indices = torch.tensor([4, 0, 5])
    x, y, index = FileSplit(paths, torch.arange(6), 8)[indices]
    assert torch.equal(x, memory[indices])
    assert torch.equal(y, indices)
    assert torch.equal(index, indices)


def test_statistics_equal_those_of_floats() -> None:
    images = torch.randint(0, 256, (20, 3, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images[:, 2] = 100
    mean, std = pixel_statistics(images)
    x = images.double() / 255
    torch.testing.assert_close(torch.tensor(mean, dtype=torch.float64), x.mean((0, 2, 3)))
    torch.testing.assert_close(torch.tensor(std[:2], dtype=torch.float64), x[:, :2].std((0, 2, 3), correction=0))
    assert std[2] == 1, "a constant channel is not divided by zero"
