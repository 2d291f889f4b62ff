"""One picture is the same input however it is given; what is none is refused in words."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.digits import Digits
from datamodules.raw_images import RawImages
from zoo.errors import DataError

GREY = RawImages(("a", "b"), 1, 8, (0.3,), (0.4,))
COLOUR = RawImages(("a", "b"), 3, 8, (0.3, 0.4, 0.5), (0.4, 0.5, 0.6))


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def test_raw_digits_become_what_the_network_was_trained_on() -> None:
    data = Digits()
    data.setup("test")
    split = data.splits["test"]
    preprocessing = data.preprocessing()
    assert preprocessing is not None
    assert preprocessing.outputs == tuple("0123456789")
    expected = data.transform_batch(split.x)
    for raw in (
        split.x,
        split.x[:, 0],
        split.x.float() / 255,
        split.x[:, 0].numpy(),
        split.x.permute(0, 2, 3, 1).numpy(),
    ):
        torch.testing.assert_close(preprocessing(raw)[0], expected)


def test_a_coloured_picture_in_every_form(pixels: np.ndarray, tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    Image.fromarray(pixels).save(file)
    expected = (
        torch.from_numpy(pixels).permute(2, 0, 1) / 255 - torch.tensor(COLOUR.mean)[:, None, None]
    ) / torch.tensor(COLOUR.std)[:, None, None]
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    forms = [pixels, pixels[None], tensor, tensor / 255, file, str(file), Image.open(file), [file], [pixels], [tensor]]
    for form in forms:
        x, lengths = COLOUR(form)
        assert lengths is None
        torch.testing.assert_close(x, expected[None])
    assert COLOUR([file, pixels, tensor])[0].shape == (3, 3, 8, 8)


def test_a_grey_picture_in_every_form(pixels: np.ndarray, tmp_path: Path) -> None:
    grey = pixels[..., 0]
    file = tmp_path / "grey.png"
    Image.fromarray(grey).save(file)
    expected = (torch.from_numpy(grey) / 255 - 0.3)[None, None] / 0.4
    for form in (grey, grey[..., None], grey[None], torch.from_numpy(grey), torch.from_numpy(grey)[None], file):
        torch.testing.assert_close(GREY(form)[0], expected)


def test_other_sizes_and_colours_are_brought_to_the_networks(tmp_path: Path) -> None:
    red = Image.new("RGB", (40, 20), (255, 0, 0))
    red.save(tmp_path / "red.png")
    for form in (red, tmp_path / "red.png", np.asarray(red)):
        x = COLOUR.pixels(form)
        assert x.shape == (1, 3, 8, 8)
        torch.testing.assert_close(x[0, :, 4, 4], torch.tensor([255.0, 0.0, 0.0]))
    assert GREY.pixels(red).shape == (1, 1, 8, 8)
    assert abs(float(GREY.pixels(red).mean()) - 76) < 1.5, "the luminance of pure red"


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (np.zeros((8, 8, 3)) + 2, "pixels are torch.float64 from 2 to 2"),
        (torch.zeros(8, 8, dtype=torch.int64), "pixels are torch.int64"),
        (torch.full((8, 8), torch.nan), "pixels are torch.float32 from nan"),
        (torch.zeros(4, 8, 8, 2), r"1 channel\(s\), got the shape \(4, 8, 8, 2\)"),
        (3, "int is no image"),
        ([], "there is no image"),
        ("no/such/file.png", "cannot read the image no/such/file.png"),
    ],
    ids=["range", "integers", "nan", "shape", "number", "empty", "file"],
)
def test_what_is_no_picture(raw: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        (COLOUR if getattr(raw, "shape", ())[-1:] == (3,) else GREY)(raw)
