"""The attacks agree with torchattacks, where that is installed: accuracy within a point on the same network."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.zoo.attacks.attack_checks import accuracy, digits, trained
from zoo.attacks.carlini_wagner import carlini_wagner
from zoo.attacks.deepfool import deepfool
from zoo.attacks.fgsm import fgsm
from zoo.attacks.mim import mim
from zoo.attacks.pgd import pgd
from zoo.attacks.pixels import Pixels

torchattacks = pytest.importorskip("torchattacks", reason="torchattacks, the other opinion, is not installed")

EPSILON, STEPS = 0.08, 20

Attack = Callable[[Pixels, Tensor, Tensor], Tensor]
PAIRS: dict[str, tuple[Attack, Callable[[Pixels], Callable[[Tensor, Tensor], Tensor]]]] = {
    "fgsm": (lambda m, x, y: fgsm(m, x, y, EPSILON), lambda m: torchattacks.FGSM(m, EPSILON)),
    "pgd": (lambda m, x, y: pgd(m, x, y, EPSILON, STEPS, 0.01), lambda m: torchattacks.PGD(m, EPSILON, 0.01, STEPS)),
    "pgd l2": (
        lambda m, x, y: pgd(m, x, y, 0.4, STEPS, 0.05, norm="l2"),
        lambda m: torchattacks.PGDL2(m, 0.4, 0.05, STEPS),
    ),
    "mim": (lambda m, x, y: mim(m, x, y, EPSILON, STEPS, 0.01), lambda m: torchattacks.MIFGSM(m, EPSILON, 0.01, STEPS)),
}


def copied() -> Pixels:
    """A copy: their attacks leave gradients on the weights."""
    return copy.deepcopy(trained())


@pytest.mark.parametrize("name", PAIRS)
def test_leaves_the_same_accuracy(name: str) -> None:
    model, (_, _, x, y) = copied(), digits()
    ours, theirs = PAIRS[name]
    reached = accuracy(model, ours(model, x, y), y), accuracy(model, theirs(model)(x, y), y)
    assert reached[0] == pytest.approx(reached[1], abs=0.01), reached
    assert 0.05 < reached[0] < 0.9  # a ball where attacks could differ


def test_fgsm_is_the_same_image() -> None:
    model, (_, _, x, y) = copied(), digits()
    torch.testing.assert_close(fgsm(model, x, y, EPSILON), torchattacks.FGSM(model, EPSILON)(x, y), atol=1e-6, rtol=0)


def test_deepfool_goes_no_farther() -> None:
    model, (_, _, x, y) = copied(), digits()
    x, y = x[:10], y[:10]
    found = deepfool(model, x, y), torchattacks.DeepFool(model, steps=50, overshoot=0.02)(x, y)
    assert accuracy(model, found[0], y) <= accuracy(model, found[1], y) + 0.01
    ours, theirs = ((images - x).flatten(1).norm(dim=1).mean().item() for images in found)
    assert ours <= 1.05 * theirs


def test_carlini_wagner_goes_no_farther() -> None:
    """Theirs has one c for all and no search: with ours as good at fooling, it may not need more."""
    model, (_, _, x, y) = copied(), digits()
    x, y = x[:10], y[:10]
    ours = carlini_wagner(model, x, y, steps=60, learning_rate=0.03, search_steps=5, initial_c=0.1)
    theirs = torchattacks.CW(model, c=5, kappa=0, steps=150, lr=0.03)(x, y)
    fooled = [model(images).argmax(1) != y for images in (ours, theirs)]
    assert fooled[0].sum() >= fooled[1].sum()
    both = fooled[0] & fooled[1]
    lengths = [(images - x)[both].flatten(1).norm(dim=1).mean().item() for images in (ours, theirs)]
    assert lengths[0] <= 1.05 * lengths[1]
