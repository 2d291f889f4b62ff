"""Crop, flip, boxes and normalisation against slices and torchvision, image by image; and what all share."""

import pytest
import torch
from jsonargparse import ArgumentParser
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from datamodules.augment import (
    Cutout,
    HorizontalFlip,
    ImageTransform,
    RandomCrop,
    RandomErasing,
    RandomResizedCrop,
    choose,
    normalize,
)
from datamodules.augment_policies import ColorJitter, RandAugment, TrivialAugment
from zoo.errors import DataError, ZooError
from zoo.randomness import uniform

EVERY_TRANSFORM = [
    RandomCrop(3),
    RandomCrop(3, fill="reflect"),
    HorizontalFlip(),
    Cutout(7, fill=90),
    RandomErasing(),
    RandomResizedCrop(),
    ColorJitter(),
    RandAugment(3, 15, fill=128),
    TrivialAugment(),
]
every_transform = pytest.mark.parametrize("transform", EVERY_TRANSFORM, ids=lambda t: type(t).__name__)


def pictures(count: int, channels: int = 3, height: int = 17, width: int = 23, seed: int = 0) -> Tensor:
    """Random uint8 images; the odd sizes leave no axis a multiple of a vector register."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, channels, height, width), dtype=torch.uint8, generator=generator)


def noise_of(transform: ImageTransform, count: int) -> Tensor:
    return uniform(torch.arange(count), transform.draws, "test")


# What every transform keeps -----------------------------------------------------------------------------------------


@every_transform
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_looks_the_same_in_every_batch(transform: ImageTransform, channels: int) -> None:
    images, index = pictures(64, channels), torch.arange(100, 164)
    together = transform(images, index, seed=1, epoch=2)
    assert together.dtype == torch.uint8
    assert together.shape == images.shape
    order = torch.randperm(64, generator=torch.Generator().manual_seed(3))
    for rows in order.split([1, 2, 7, 54]):
        assert torch.equal(transform(images[rows], index[rows], seed=1, epoch=2), together[rows])


@every_transform
def test_another_epoch_seed_or_index_is_another_draw(transform: ImageTransform) -> None:
    images, index = pictures(64), torch.arange(64)
    first = transform(images, index, seed=1, epoch=2)
    for other in (transform(images, index, 1, 3), transform(images, index, 2, 2), transform(images, index + 64, 1, 2)):
        assert (other != first).flatten(1).any(dim=1).sum() >= 16


@every_transform
def test_the_images_given_are_not_changed(transform: ImageTransform) -> None:
    images = pictures(64)
    transform(images, torch.arange(64), seed=0, epoch=0)
    assert torch.equal(images, pictures(64))


@every_transform
def test_memory_layout_does_not_matter(transform: ImageTransform) -> None:
    images, index = pictures(32), torch.arange(32)
    last = images.to(memory_format=torch.channels_last)
    assert torch.equal(transform(last, index, 0, 0), transform(images, index, 0, 0))


@pytest.mark.parametrize(
    "transform",
    [
        RandomCrop(0),
        HorizontalFlip(0.0),
        Cutout(0),
        RandomErasing(p=0.0),
        RandomResizedCrop((1.0, 1.0), (1.0, 1.0)),
        ColorJitter(0.0, 0.0, 0.0),
        RandAugment(num_ops=0),
    ],
    ids=lambda t: type(t).__name__,
)
@pytest.mark.parametrize("channels", [1, 3])
def test_zero_strength_is_identity(transform: ImageTransform, channels: int) -> None:
    images = pictures(32, channels, 20, 20)
    assert torch.equal(transform(images, torch.arange(32), 0, 0), images)


def test_built_from_class_paths() -> None:
    parser = ArgumentParser()
    parser.add_argument("--augment", type=list[ImageTransform])
    config = [
        {"class_path": "datamodules.augment.RandomCrop", "init_args": {"padding": 2, "fill": "reflect"}},
        {"class_path": "datamodules.augment.Cutout", "init_args": {"size": 8, "fill": [125, 123, 114]}},
        {"class_path": "datamodules.augment.RandomResizedCrop", "init_args": {"scale": [0.5, 1.0]}},
        {"class_path": "datamodules.augment_policies.RandAugment", "init_args": {"num_ops": 1}},
        {"class_path": "datamodules.augment_policies.TrivialAugment"},
    ]
    built = parser.instantiate(parser.parse_object({"augment": config})).augment
    assert [type(t) for t in built] == [RandomCrop, Cutout, RandomResizedCrop, RandAugment, TrivialAugment]
    assert (built[0].fill, built[1].fill, built[2].scale) == ("reflect", [125, 123, 114], (0.5, 1.0))


# One transform at a time --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fill", ["zero", "reflect"])
def test_crop_is_the_slice_of_the_padded_image(fill: str) -> None:
    images, transform = pictures(60), RandomCrop(4, fill)  # type: ignore[arg-type]
    noise = noise_of(transform, 60)
    got = transform.apply(images, noise)
    for image, draw, cropped in zip(images, noise, got, strict=True):
        padded = functional.pad(image, [4], padding_mode="constant" if fill == "zero" else "reflect")
        top, left = int(draw[0] * 9), int(draw[1] * 9)
        assert torch.equal(cropped, padded[:, top : top + 17, left : left + 23])


def test_crop_places_are_equally_frequent() -> None:
    # A bright pixel in the middle of 3 x 3 tells where the window was put.
    images = torch.zeros(20_000, 1, 3, 3, dtype=torch.uint8)
    images[:, :, 1, 1] = 1
    place = RandomCrop(1)(images, torch.arange(20_000), 0, 0).flatten(1).float()
    counts = place.sum(dim=0)  # every place is in the window for one draw
    chi_square = ((counts - 20_000 / 9) ** 2 / (20_000 / 9)).sum()
    assert counts.sum() == 20_000
    assert chi_square < 26.1  # 8 degrees of freedom, p = 0.001


def test_flip_mirrors_at_its_rate() -> None:
    images = torch.tensor([1, 2, 3], dtype=torch.uint8).expand(20_000, 1, 1, 3)
    for p in (0.5, 0.1, 1.0):
        got = HorizontalFlip(p)(images, torch.arange(20_000), 0, 0)[:, 0, 0]
        flipped = (got == torch.tensor([3, 2, 1])).all(dim=1)
        assert torch.equal(got[~flipped], images[~flipped, 0, 0])
        assert abs(flipped.float().mean() - p) <= 4 * (p * (1 - p) / 20_000) ** 0.5


@pytest.mark.parametrize("size", [5, 8])
def test_cutout_paints_the_square_and_nothing_else(size: int) -> None:
    images, transform = pictures(60), Cutout(size, fill=[1, 2, 3])
    noise = noise_of(transform, 60)
    got = transform.apply(images, noise)
    for image, draw, cut in zip(images, noise, got, strict=True):
        top, left = int(draw[0] * 17) - size // 2, int(draw[1] * 23) - size // 2
        rows, columns = slice(max(top, 0), max(top + size, 0)), slice(max(left, 0), max(left + size, 0))
        image = image.clone()
        image[:, rows, columns] = torch.tensor([1, 2, 3], dtype=torch.uint8)[:, None, None]
        assert torch.equal(cut, image)


def test_cutout_mean_area() -> None:
    # Along one axis of 16 pixels a side of 8 shows 8 - (4+3+2+1+1+2+3)/16 = 7 pixels in the mean over centres.
    white = torch.full((4000, 1, 16, 16), 255, dtype=torch.uint8)
    area = (Cutout(8)(white, torch.arange(4000), 0, 0) == 0).flatten(1).sum(dim=1).float()
    assert area.max() == 64
    assert abs(area.mean() - 49) < 4 * area.std() / 4000**0.5


def test_erasing_paints_boxes_of_the_share_and_ratio_asked_for() -> None:
    white = torch.full((4000, 1, 40, 40), 255, dtype=torch.uint8)
    transform = RandomErasing(p=0.3, scale=(0.1, 0.2), ratio=(0.5, 2.0))
    black = (transform(white, torch.arange(4000), 0, 0) == 0)[:, 0]  # (B, H, W)
    height, width = black.any(dim=2).sum(dim=1), black.any(dim=1).sum(dim=1)
    erased = height > 0
    assert abs(erased.float().mean() - 0.3) <= 4 * (0.3 * 0.7 / 4000) ** 0.5
    assert torch.equal(black.flatten(1).sum(dim=1), height * width)  # boxes without holes
    height, width = height[erased].float(), width[erased].float()
    # The sides are rounded to whole pixels: each real side is at most half a pixel off.
    assert ((height + 0.5) * (width + 0.5)).min() >= 160
    assert ((height - 0.5) * (width - 0.5)).max() <= 320
    assert ((width + 0.5) / (height - 0.5)).min() >= 0.5
    assert ((width - 0.5) / (height + 0.5)).max() <= 2.0
    assert abs((width > height).float().mean() - (width < height).float().mean()) < 0.1


@pytest.mark.parametrize("channels", [1, 3])
def test_resized_crop_equals_torchvision(channels: int) -> None:
    images, transform = pictures(60, channels, 40, 31), RandomResizedCrop()
    noise = noise_of(transform, 60)
    got = transform.apply(images, noise)
    boxes = torch.stack(transform.boxes(noise, 40, 31), dim=1)
    for image, box, resized in zip(images, boxes.tolist(), got, strict=True):
        top, left, height, width, found = box
        assert found
        assert 0 <= top <= 40 - height
        assert 0 <= left <= 31 - width
        expected = functional.resized_crop(image.float(), top, left, height, width, [40, 31], antialias=True)
        assert (resized - expected).abs().max() <= 0.501  # half a level of rounding, and the interpolation's own error


def test_resized_crop_takes_the_first_attempt_that_fits() -> None:
    transform = RandomResizedCrop((0.5, 0.9), (0.5, 2.0))
    noise = noise_of(transform, 300)
    got = torch.stack(transform.boxes(noise, 20, 30), dim=1).tolist()
    for draw, (top, left, height, width, found) in zip(noise.double().tolist(), got, strict=True):
        for area, shape in zip(draw[:10], draw[10:20], strict=True):
            ratio = 0.5 * 4 ** ((int(shape * 1024) + 0.5) / 1024)
            area = 600 * (0.5 + 0.4 * area)
            w, h = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
            if w <= 30 and h <= 20:
                assert found
                assert (height, width, top, left) == (h, w, int(draw[20] * (21 - h)), int(draw[21] * (31 - w)))
                break
        else:
            assert not found


@pytest.mark.parametrize(("height", "width"), [(8, 64), (64, 8)])
def test_resized_crop_falls_back_to_the_centre(height: int, width: int) -> None:
    images = pictures(4, 3, height, width)
    got = RandomResizedCrop((1.0, 1.0))(images, torch.arange(4), 0, 0)  # no box of the whole area has a ratio so long
    side = 11  # 8 * 4 / 3 rounded
    top, left, h, w = (0, 26, 8, side) if width == 64 else (26, 0, side, 8)
    expected = functional.resized_crop(images.float(), top, left, h, w, [height, width], antialias=True)
    assert (got - expected).abs().max() <= 0.501


@pytest.mark.parametrize("channels", [1, 3])
def test_normalize_equals_torchvision(channels: int) -> None:
    images = pictures(8, channels)
    mean, std = [0.49, 0.48, 0.45][:channels], [0.25, 0.24, 0.26][:channels]
    expected = functional.normalize(v2.ToDtype(torch.float32, scale=True)(images), mean, std)
    got = normalize(images, mean, std)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected, atol=2e-6, rtol=0)


def test_choose_has_equal_chances_and_never_reaches_the_count() -> None:
    largest = torch.tensor(1 - 2**-24)
    for count in range(1, 3000):
        assert choose(largest, count) == count - 1
    counts = torch.bincount(choose(uniform(torch.arange(14_000), 1, "test")[:, 0], 14), minlength=14)
    assert ((counts - 1000.0) ** 2 / 1000).sum() < 34.6  # 13 degrees of freedom, p = 0.001


# Errors -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: RandomCrop(-1), "RandomCrop: padding is -1; give 0 or more pixels"),
        (lambda: HorizontalFlip(1.5), "HorizontalFlip: p is 1.5; give a probability in 0..1"),
        (lambda: Cutout(-2), "Cutout: size is -2; give 0 or more pixels"),
        (
            lambda: Cutout(2, fill=256),
            "Cutout: fill is 256; give a grey level in 0..255, or a list with one per channel",
        ),
        (lambda: RandomErasing(p=-0.1), "RandomErasing: p is -0.1; give a probability in 0..1"),
        (
            lambda: RandomResizedCrop((0.5, 1.5)),
            "RandomResizedCrop: scale is (0.5, 1.5); give two shares of the image's area with 0 < low <= high <= 1",
        ),
        (
            lambda: RandomErasing(ratio=(2.0, 1.0)),
            "RandomErasing: ratio is (2.0, 1.0); give two numbers with 0 < low <= high",
        ),
        (lambda: ColorJitter(contrast=-1), "ColorJitter: contrast is -1; give 0 or more"),
        (lambda: RandAugment(num_ops=-1), "RandAugment: num_ops is -1; give 0 or more operations"),
        (lambda: RandAugment(magnitude=31), "RandAugment: magnitude is 31; give a strength in 0..30"),
    ],
)
def test_bad_arguments_are_named(build: object, text: str) -> None:
    with pytest.raises(ZooError) as error:
        build()  # type: ignore[operator]
    assert str(error.value) == text


@pytest.mark.parametrize(
    ("images", "transform", "text"),
    [
        (
            torch.zeros(2, 3, 8, 8),
            RandomCrop(),
            "RandomCrop: got torch.float32 images of shape (2, 3, 8, 8); give uint8 of shape (B, 1 or 3, H, W)",
        ),
        (
            pictures(2, 2, 8, 8),
            TrivialAugment(),
            "TrivialAugment: got torch.uint8 images of shape (2, 2, 8, 8); give uint8 of shape (B, 1 or 3, H, W)",
        ),
        (
            pictures(2, 3, 8, 5),
            RandomCrop(5, "reflect"),
            "RandomCrop: cannot mirror 5 pixels of images of 8 x 5; lower padding or set fill to zero",
        ),
        (
            pictures(2, 1, 8, 8),
            Cutout(2, fill=[1, 2, 3]),
            "fill has 3 levels, but the images have 1 channels; give one or each",
        ),
        (pictures(3), HorizontalFlip(), "HorizontalFlip: got 3 images, but an index of shape (2,); give one each"),
    ],
)
def test_bad_batches_are_named(images: Tensor, transform: ImageTransform, text: str) -> None:
    with pytest.raises(DataError) as error:
        transform(images, torch.arange(2), 0, 0)
    assert str(error.value) == text
