"""AugMix: the formula image by image with torchvision's operations, and the distributions of its draws."""

import math

import pytest
import torch
from torch import Tensor
from torchvision.transforms import AugMix as TorchvisionAugMix
from torchvision.transforms import InterpolationMode
from torchvision.transforms.autoaugment import _apply_op

from datamodules.augment_augmix import DEPTH, OPERATIONS, AugMix
from zoo.errors import ZooError
from zoo.randomness import uniform

UNSIGNED = ("AutoContrast", "Equalize", "Posterize", "Solarize")


def pictures(count: int, channels: int) -> Tensor:
    coarse = torch.rand(count, channels, 5, 5, generator=torch.Generator().manual_seed(0))
    return (torch.nn.functional.interpolate(coarse, (33, 27), mode="bilinear") * 255).to(torch.uint8)


def by_hand(image: Tensor, draws: list[float], chains: int, severity: int) -> Tensor:
    """One image, one operation after the other."""
    channels, height, width = image.shape
    space = TorchvisionAugMix()._augmentation_space(10, (height, width))
    own, rest = draws[0], torch.tensor(draws[1:]).view(chains, -1).tolist()
    exponentials = [-math.log(1 - chain[0]) for chain in rest]
    mixed = own * image.double()
    for chain, weight in zip(rest, exponentials):
        result = image
        for place in range(int(chain[1] * DEPTH) + 1):
            name, sign, step = (
                int(draw * n) for draw, n in zip(chain[2 + 3 * place :], (len(OPERATIONS), 2, severity))
            )
            magnitudes, signed = space[OPERATIONS[name]]
            strength = float(magnitudes[step]) if magnitudes.ndim else 0.0
            assert signed == (OPERATIONS[name] not in UNSIGNED)
            strength *= -1 if signed and sign else 1
            result = _apply_op(result, OPERATIONS[name], strength, InterpolationMode.NEAREST, [0.0] * channels)
        mixed += (1 - own) * weight / sum(exponentials) * result.double()
    return mixed.round().to(torch.uint8)


@pytest.mark.parametrize(("channels", "chains", "severity"), [(1, 3, 3), (3, 2, 10)])
def test_images_equal_torchvision_operations_at_the_same_draws(channels: int, chains: int, severity: int) -> None:
    images, index = pictures(120, channels), torch.arange(120)
    transform = AugMix(severity, chains)
    got = transform(images, index, seed=3, epoch=2)
    noise = uniform(index, transform.draws, 3, 2, "AugMix")
    expected = torch.stack([by_hand(image, draws.tolist(), chains, severity) for image, draws in zip(images, noise)])
    # What differs by more than a level are ties of the nearest pixel; see test_augment_policies.
    assert ((got.int() - expected.int()).abs() > 1).float().mean() < 0.002
    assert (got != images).flatten(1).any(1).float().mean() > 0.9


def test_an_image_does_not_depend_on_its_batch() -> None:
    images, index = pictures(40, 3), torch.arange(40) + 7
    whole = AugMix()(images, index, 0, 0)
    assert torch.equal(whole[10:13], AugMix()(images[10:13], index[10:13], 0, 0))
    assert not torch.equal(whole, AugMix()(images, index, 0, 1))


def test_a_flat_image_stays_flat_and_the_mix_stays_within_its_chains() -> None:
    """Weights are positive and add up to 1: white stays white under what keeps it so, and nothing overflows."""
    white = torch.full((200, 1, 8, 8), 255, dtype=torch.uint8)
    mixed = AugMix(severity=1)(white, torch.arange(200), 0, 0)
    assert mixed.flatten(1).amax(1).eq(mixed.flatten(1).amin(1)).all()


def test_refusals() -> None:
    with pytest.raises(ZooError, match="severity is 11; give 1 to 10 steps"):
        AugMix(severity=11)
    with pytest.raises(ZooError, match="chains is 0; give 1 or more"):
        AugMix(chains=0)
