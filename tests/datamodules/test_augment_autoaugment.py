"""AutoAugment: torchvision's policies, and torchvision's images at the same draws."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision import transforms

from datamodules.augment_autoaugment import AutoAugment, read_policy
from datamodules.digits import Digits
from zoo.randomness import uniform

THEIRS = {"cifar10": transforms.AutoAugmentPolicy.CIFAR10, "imagenet": transforms.AutoAugmentPolicy.IMAGENET}


def pictures(count: int, channels: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, channels, 5, 5, generator=generator)
    return (torch.nn.functional.interpolate(coarse, (33, 27), mode="bilinear") * 255).to(torch.uint8)


@pytest.mark.parametrize("policy", ["cifar10", "imagenet"])
def test_policies_equal_torchvision(policy: str) -> None:
    theirs = transforms.AutoAugment(THEIRS[policy]).policies
    assert read_policy(policy) == [[(op, p, step or 0) for op, p, step in pair] for pair in theirs]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("policy", ["cifar10", "imagenet"])
def test_images_equal_torchvision_at_the_same_draws(policy: Any, channels: int) -> None:
    images, index = pictures(300, channels), torch.arange(300)
    got = AutoAugment(policy)(images, index, seed=3, epoch=2)
    noise = uniform(index, 5, 3, 2, "AutoAugment")
    theirs = transforms.AutoAugment(THEIRS[policy], fill=[0.0] * channels)
    share, changed = 0.0, 0
    for image, result, draw in zip(images, got, noise):
        signs = 1 - (draw[3:] * 2).long()  # theirs turns round at 0
        theirs.get_params = lambda n, draw=draw, signs=signs: (int(draw[0] * n), draw[1:3], signs)  # type: ignore[method-assign]
        expected = theirs(image)
        share += ((result.int() - expected.int()).abs() > 1).float().mean().item() / 300
        changed += not torch.equal(result, image)
    # A level is what a rounding error moves a blend by; what differs by more are ties of the nearest pixel, and blends
    # that Equalize then pulls apart. See test_augment_policies.
    assert share < 0.001
    assert changed > 150


def test_an_image_does_not_depend_on_its_batch() -> None:
    images, index = pictures(40, 3), torch.arange(40) + 7
    whole = AutoAugment()(images, index, 0, 0)
    part = AutoAugment()(images[10:13], index[10:13], 0, 0)
    assert torch.equal(whole[10:13], part)
    assert not torch.equal(whole, AutoAugment()(images, index, 0, 1))


def test_plugs_into_a_data_set() -> None:
    data = Digits(augment=[AutoAugment(fill=0)])
    data.setup("fit")
    x = data.splits["train"].x
    assert data.augment_batch(x, torch.arange(len(x)), 0, 0).shape == x.shape
