"""Carlini and Wagner: the least change on a linear network, about DeepFool's on a trained one, and its confidence."""

import pytest
import torch
from torch import nn

from tests.zoo.attacks.attack_checks import accuracy, images, trained
from zoo.attacks.carlini_wagner import carlini_wagner
from zoo.attacks.deepfool import deepfool
from zoo.errors import ZooError


def test_finds_the_nearest_boundary_of_a_linear_network() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(6, 4)
    x = torch.rand(8, 6) * 0.1 + 0.45
    y = layer(x).argmax(1)
    found = carlini_wagner(layer, x, y, steps=80, learning_rate=0.02, search_steps=8, initial_c=0.1)
    gap = layer(x).gather(1, y[:, None]) - layer(x)
    normals = (layer.weight[y][:, None] - layer.weight[None]).norm(dim=2)
    shortest = (gap / normals).masked_fill(gap == 0, torch.inf).amin(1).detach()
    assert (layer(found).argmax(1) != y).all()
    distance = (found - x).norm(dim=1)
    assert (distance >= shortest * 0.999).all()
    assert (distance / shortest).median() < 1.05


def test_fools_all_with_about_what_deepfool_needs() -> None:
    model, (x, y) = trained(), images(16)
    found = carlini_wagner(model, x, y, steps=100, learning_rate=0.03, search_steps=5, initial_c=0.1)
    assert accuracy(model, found, y) == 0
    ours, theirs = ((a - x).flatten(1).norm(dim=1).mean() for a in (found, deepfool(model, x, y)))
    assert ours < 1.02 * theirs  # on so small a network DeepFool's linear steps are nearly the shortest


def test_confidence_puts_another_class_ahead() -> None:
    model, (x, y) = trained(), images(10)
    found = carlini_wagner(model, x, y, 3.0, steps=40, learning_rate=0.1, search_steps=4, initial_c=1.0)
    right = model(x).argmax(1) == y
    logits = model(found)
    own = logits.gather(1, y[:, None])[:, 0]
    ahead = logits.scatter(1, y[:, None], -torch.inf).amax(1) - own
    assert (ahead[right] >= 3 - 1e-3).all()


def test_leaves_alone_what_is_wrong_already() -> None:
    model, (x, y) = trained(), images(10)
    assert torch.equal(carlini_wagner(model, x, (y + 1) % 10), x)


def test_errors() -> None:
    x, y = images(1)
    with pytest.raises(ZooError, match="no negative confidence"):
        carlini_wagner(trained(), x, y, confidence=-1.0)
