"""DeepFool on a linear network, where the shortest way is known, and on a trained one."""

import pytest
import torch
from torch import nn

from tests.zoo.attacks.attack_checks import accuracy, images, trained
from zoo.attacks.deepfool import deepfool
from zoo.attacks.pgd import pgd
from zoo.errors import ZooError


def test_finds_the_nearest_boundary_of_a_linear_network() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(6, 4)
    x = torch.rand(16, 6) * 0.1 + 0.45
    y = layer(x).argmax(1)
    found = deepfool(layer, x, y, overshoot=1e-3)
    gap = layer(x).gather(1, y[:, None]) - layer(x)
    normals = (layer.weight[y][:, None] - layer.weight[None]).norm(dim=2)
    shortest = (gap / normals).masked_fill(gap == 0, torch.inf).amin(1).detach()
    torch.testing.assert_close((found - x).norm(dim=1), (shortest + 1e-4) * 1.001, rtol=1e-4, atol=1e-6)
    assert (layer(found).argmax(1) != y).all()


def test_fools_nearly_all_with_less_than_a_ball_needs() -> None:
    model, (x, y) = trained(), images()
    found = deepfool(model, x, y)
    assert accuracy(model, found, y) < 0.03
    distance = (found - x).flatten(1).norm(dim=1)
    in_ball = pgd(model, x, y, distance.median().item() * 0.5, steps=20, norm="l2")
    assert accuracy(model, in_ball, y) > 0.5  # half that distance does not suffice


def test_leaves_alone_what_is_wrong_already() -> None:
    model, (x, y) = trained(), images(10)
    assert torch.equal(deepfool(model, x, (y + 1) % 10), x)


def test_errors() -> None:
    x, y = images(1)
    with pytest.raises(ZooError, match="at least 1 step and no negative overshoot"):
        deepfool(trained(), x, y, steps=0)
