"""MIM: without momentum it is PGD, with it the recursion of the paper."""

import torch
from torch.nn import functional as F

from tests.zoo.attacks.attack_checks import images, trained
from zoo.attacks.mim import mim
from zoo.attacks.pgd import pgd


def test_without_momentum_is_pgd() -> None:
    model, (x, y) = trained(), images(20)
    expected = pgd(model, x, y, 0.1, steps=4, step_size=0.025, start="none")
    torch.testing.assert_close(mim(model, x, y, 0.1, steps=4, decay=0.0), expected)


def test_equals_the_recursion() -> None:
    model, (x, y) = trained(), images(10)
    at, momentum = x.clone(), torch.zeros_like(x)
    for _ in range(4):
        at.requires_grad_()
        slope = torch.autograd.grad(F.cross_entropy(model(at), y, reduction="sum"), at)[0]
        momentum = 0.9 * momentum + slope / slope.abs().sum((1, 2, 3), keepdim=True)
        at = torch.min(torch.max(at.detach() + 0.025 * momentum.sign(), x - 0.1), x + 0.1).clamp(0, 1)
    torch.testing.assert_close(mim(model, x, y, 0.1, steps=4, decay=0.9), at)


def test_zero_strength_is_the_identity() -> None:
    x, y = images(10)
    assert torch.equal(mim(trained(), x, y, 0.0), x)
