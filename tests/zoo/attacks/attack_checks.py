"""What the tests of attacks share: a network trained on digits, images that it gets right, and every attack by name."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datamodules.digits import Digits
from zoo.attacks.carlini_wagner import carlini_wagner
from zoo.attacks.deepfool import deepfool
from zoo.attacks.fgsm import fgsm
from zoo.attacks.mim import mim
from zoo.attacks.pgd import pgd
from zoo.attacks.pixels import Pixels

EPSILON = 0.2
ATTACKS: dict[str, Callable[[nn.Module, Tensor, Tensor], Tensor]] = {
    "fgsm": lambda model, x, y: fgsm(model, x, y, EPSILON),
    "fgsm l2": lambda model, x, y: fgsm(model, x, y, 1.0, norm="l2"),
    "pgd": lambda model, x, y: pgd(model, x, y, EPSILON, steps=5, restarts=2),
    "pgd l2": lambda model, x, y: pgd(model, x, y, 1.0, steps=5, norm="l2", restarts=2),
    "pgd gaussian": lambda model, x, y: pgd(model, x, y, EPSILON, steps=5, start="gaussian"),
    "mim": lambda model, x, y: mim(model, x, y, EPSILON, steps=5),
    "mim l2": lambda model, x, y: mim(model, x, y, 1.0, steps=5, norm="l2"),
    "deepfool": lambda model, x, y: deepfool(model, x, y, steps=20),
    "carlini_wagner": lambda model, x, y: carlini_wagner(
        model, x, y, steps=20, learning_rate=0.1, search_steps=2, initial_c=1
    ),
}
RADII = {"fgsm": EPSILON, "pgd": EPSILON, "pgd gaussian": EPSILON, "mim": EPSILON}
RADII_L2 = {"fgsm l2": 1.0, "pgd l2": 1.0, "mim l2": 1.0}


@cache
def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pixels in [0, 1] and labels of the training and of the test images."""
    data = Digits()
    data.setup("fit")
    train, test = data.splits["train"], data.splits["test"]
    return train.x / 255, train.y, test.x / 255, test.y  # type: ignore[attr-defined]


@cache
def trained() -> Pixels:
    """A small convolutional network with batch norm and dropout, right on about 97 % of the test images."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten(),
        nn.Dropout(0.1), nn.Linear(512, 10),
    )  # fmt: skip
    model = Pixels(network, [0.3], [0.4])
    x, y, _, _ = digits()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(6):
        for index in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(x[index]), y[index]).backward()
            optimizer.step()
    optimizer.zero_grad()
    return model.eval()


def images(count: int = 100) -> tuple[Tensor, Tensor]:
    """Test images with their labels."""
    _, _, x, y = digits()
    return x[:count], y[:count]


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    return (model(x).argmax(1) == y).float().mean().item()
