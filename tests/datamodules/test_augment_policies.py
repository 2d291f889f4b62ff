"""Colours, affine maps and the policies made of them against torchvision's own kernels, image by image."""

from collections.abc import Callable
from itertools import permutations

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from datamodules import augment_color as color
from datamodules import augment_geometry as geometry
from datamodules.augment_policies import (
    BINS,
    OPERATIONS,
    ColorJitter,
    RandAugment,
    Space,
    TrivialAugment,
    apply_operations,
    route,
)
from zoo.randomness import uniform

FACTORS = torch.tensor([0.0, 0.01, 0.3, 0.55, 1.0, 1.2, 1.9, 2.7])


def pictures(count: int, channels: int = 3, height: int = 33, width: int = 27) -> Tensor:
    """Smooth and noisy uint8 images by turns, some with a narrow range."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(count, channels, height, width, generator=generator)
    waves = torch.sin(torch.arange(height * width).view(height, width) / 37) / 2 + 0.5
    smooth = torch.rand(count, channels, 1, 1, generator=generator) * waves
    images = torch.where(torch.arange(count).view(-1, 1, 1, 1) % 2 == 0, noise, smooth)
    images[1::3] = images[1::3] * 0.3 + 0.2
    return (images * 255).to(torch.uint8)


def assert_nearly_equal(got: Tensor, expected: Tensor, levels: int, share: float) -> None:
    """At most ``levels`` apart anywhere, and different in at most ``share`` of the pixels."""
    assert got.dtype == torch.uint8
    difference = (got.int() - expected.int()).abs()
    assert difference.max() <= levels
    assert (difference > 0).float().mean() <= share


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("ours", "theirs", "share"),
    [
        (color.brightness, functional.adjust_brightness, 0.0),
        # Where a sum is a whole number, their rounding error may cut it to the level below, ours does not.
        (color.saturation, functional.adjust_saturation, 0.02),
        (color.contrast, functional.adjust_contrast, 0.01),
        (color.sharpness, functional.adjust_sharpness, 0.0),
    ],
)
def test_blends_equal_torchvision(
    ours: Callable[[Tensor, Tensor], Tensor],
    theirs: Callable[[Tensor, float], Tensor],
    share: float,
    channels: int,
) -> None:
    images = pictures(len(FACTORS), channels)
    expected = torch.stack([theirs(image, factor) for image, factor in zip(images, FACTORS.tolist(), strict=True)])
    assert_nearly_equal(ours(images, FACTORS), expected, levels=1, share=share)
    assert torch.equal(ours(images, torch.ones(len(images))), images)


def test_flat_images_stay_flat() -> None:
    flat = (torch.arange(256, dtype=torch.uint8)).view(-1, 1, 1, 1).expand(-1, 1, 5, 5)
    for factor in (0.0, 0.3, 1.429, 1.99):
        for change in (color.contrast, color.sharpness):
            assert torch.equal(change(flat, torch.full((256,), factor)), flat)
    assert torch.equal(color.equalize(flat), flat)
    assert torch.equal(color.autocontrast(flat), flat)


@pytest.mark.parametrize("channels", [1, 3])
def test_integer_operations_equal_torchvision_exactly(channels: int) -> None:
    images = pictures(9, channels)
    bits, threshold = torch.arange(9), torch.tensor([0.0, 1, 17.5, 64, 100, 128, 200.25, 254, 255])
    each = range(9)
    posterized = torch.stack([functional.posterize(images[i], i) for i in each])
    solarized = torch.stack([functional.solarize(images[i], threshold[i].item()) for i in each])
    assert torch.equal(color.posterize(images, bits), posterized)
    assert torch.equal(color.solarize(images, threshold), solarized)
    assert torch.equal(color.autocontrast(images), torch.stack([functional.autocontrast(i) for i in images]))
    assert torch.equal(color.equalize(images), torch.stack([functional.equalize(i) for i in images]))
    assert not torch.equal(color.equalize(images), images)


def test_sharpness_leaves_images_without_inner_pixels() -> None:
    images = pictures(4, 3, 2, 9)
    assert torch.equal(color.sharpness(images, FACTORS[:4]), images)


@pytest.mark.parametrize("strength", [-20.0, -7.9, 0.0, 0.6, 3.0, 31.0])
def test_translations_equal_slices(strength: float) -> None:
    images, by = pictures(2), int(strength)
    matrices = [geometry.translate_x_matrix(strength, 33, 27), geometry.translate_y_matrix(strength, 33, 27)]
    got = geometry.warp(images, geometry.matrix_tensor(matrices), fill=[7, 8, 9])
    expected = torch.tensor([7, 8, 9], dtype=torch.uint8)[:, None, None].expand_as(images).clone()
    if abs(by) < 27:
        expected[0, :, :, max(by, 0) : 27 + min(by, 0)] = images[0, :, :, max(-by, 0) : 27 - max(by, 0)]
    expected[1, :, max(by, 0) : 33 + min(by, 0)] = images[1, :, max(-by, 0) : 33 - max(by, 0)]
    assert torch.equal(got, expected)


def test_quarter_turn_is_exact() -> None:
    images = pictures(2, 3, 24, 24)
    got = geometry.warp(images, geometry.matrix_tensor([geometry.rotate_matrix(90, 24, 24)] * 2))
    assert torch.equal(got, torch.rot90(images, 1, (2, 3)))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(RandAugment(), v2.RandAugment()), (TrivialAugment(), v2.TrivialAugmentWide())],
    ids=["RandAugment", "TrivialAugment"],
)
def test_every_operation_and_strength_equals_torchvision(
    ours: RandAugment | TrivialAugment, theirs: v2.RandAugment | v2.TrivialAugmentWide, channels: int
) -> None:
    """All 14 operations at all 31 strengths, both signs, in one batch; torchvision's table gives the strengths."""
    case = torch.cartesian_prod(torch.arange(len(OPERATIONS)), torch.arange(2), torch.arange(BINS))
    images = pictures(64, channels)[torch.arange(len(case)) % 64]
    got = apply_operations(images, case[:, 0], case[:, 1], case[:, 2], ours.space, fill=0)
    assert list(theirs._AUGMENTATION_SPACE) == list(OPERATIONS)
    off = torch.zeros(len(OPERATIONS))
    for image, (operation, sign, step), result in zip(images, case.tolist(), got, strict=True):
        name = OPERATIONS[operation]
        table, signed = theirs._AUGMENTATION_SPACE[name]
        strengths = table(BINS, 33, 27)
        strength = 0.0 if strengths is None else float(strengths[step])
        strength = -strength if signed and sign else strength
        expected = theirs._apply_image_or_video_transform(image, name, strength, "nearest", {})
        if name in ("Color", "Contrast", "Sharpness"):
            assert_nearly_equal(result, expected, levels=1, share=0.2)
        off[operation] += (result != expected).float().mean() / (2 * BINS)
    # The rest is equal to the bit. Where the nearest pixel is a tie, a rounding error decides; and where a blend is a
    # whole number, torchvision's rounding error may cut it to the level below.
    limit = {"ShearX": 0.002, "ShearY": 0.002, "Rotate": 0.002, "Color": 0.01, "Contrast": 0.002, "Sharpness": 0.002}
    assert {
        name: share for name, share in zip(OPERATIONS, off.tolist(), strict=True) if share > limit.get(name, 0)
    } == {}


@pytest.mark.parametrize("name", ["ShearX", "TranslateY", "Rotate", "Contrast", "Posterize"])
def test_the_weakest_step_does_nothing(name: str) -> None:
    images = pictures(6)
    zeros = torch.zeros(6, dtype=torch.long)
    for space in (RandAugment.space, TrivialAugment.space):
        assert torch.equal(apply_operations(images, zeros + OPERATIONS.index(name), zeros, zeros, space, 0), images)


def test_strengths_of_a_space_grow() -> None:
    space = Space(shear=0.3, translate=0.5, relative=True, rotate=30, enhance=0.9, posterize=4)
    assert space.strengths("TranslateX", 10, 40)[-1] == 20
    assert space.strengths("TranslateY", 10, 40)[-1] == 5
    assert space.strengths("Posterize", 10, 40)[[0, -1]].tolist() == [8, 4]
    assert space.strengths("Solarize", 10, 40)[[0, -1]].tolist() == [1, 0]


def test_rand_augment_applies_one_operation_after_the_other() -> None:
    images, transform = pictures(200), RandAugment(num_ops=2, magnitude=12)
    noise = uniform(torch.arange(200), transform.draws, "test")
    operation, sign = (noise[:, 0::2] * 14).long(), (noise[:, 1::2] * 2).long()
    step = torch.full((200,), 12)
    expected = images
    for i in range(2):
        expected = apply_operations(expected, operation[:, i], sign[:, i], step, transform.space, 0)
    assert torch.equal(transform.apply(images, noise), expected)
    assert len(torch.unique(operation)) == 14


def test_jitter_equals_torchvision_in_the_order_drawn() -> None:
    images, transform = pictures(60), ColorJitter(brightness=0.4, contrast=0.3, saturation=1.5)
    noise = uniform(torch.arange(60), transform.draws, "test")
    orders = list(permutations(range(3)))
    apply = [functional.adjust_brightness, functional.adjust_contrast, functional.adjust_saturation]
    expected = []
    for image, draw in zip(images, noise.tolist(), strict=True):
        factors = [0.6 + 0.8 * draw[0], 0.7 + 0.6 * draw[1], 2.5 * draw[2]]
        for i in orders[int(draw[3] * 6)]:
            image = apply[i](image, factors[i])
        expected.append(image)
    # One level that a blend differs by is stretched by the factors after it, 2.5 at the most.
    assert_nearly_equal(transform.apply(images, noise), torch.stack(expected), levels=3, share=0.01)


def test_route_calls_each_branch_once_and_keeps_the_order() -> None:
    images = pictures(50)
    choice = torch.arange(50) % 3
    calls: list[Tensor] = []

    def add(amount: int) -> Callable[[Tensor, Tensor], Tensor]:
        def branch(share: Tensor, rows: Tensor) -> Tensor:
            calls.append(rows)
            assert torch.equal(share, images[rows])
            return share + amount

        return branch

    got = route(images, choice, [add(0), add(1), add(2), add(3)])
    assert torch.equal(got, images + choice.view(-1, 1, 1, 1).byte())
    assert [rows.tolist() for rows in calls] == [list(range(i, 50, 3)) for i in range(3)]  # nobody chose the last


def test_route_of_an_empty_batch() -> None:
    empty = torch.zeros(0, 3, 4, 4, dtype=torch.uint8)
    assert route(empty, torch.zeros(0, dtype=torch.long), [lambda images, rows: images]).shape == (0, 3, 4, 4)
