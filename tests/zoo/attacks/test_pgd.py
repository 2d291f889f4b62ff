"""PGD: the recursion by hand, restarts that only ever make it worse for the network, and repeatable draws."""

import pytest
import torch
from torch.nn import functional as F

from tests.zoo.attacks.attack_checks import accuracy, digits, images, trained
from zoo.attacks.fgsm import fgsm
from zoo.attacks.pgd import pgd
from zoo.errors import ZooError


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_equals_the_recursion(norm: str) -> None:
    model, (x, y) = trained(), images(8)
    epsilon, size = (0.1, 0.04) if norm == "linf" else (0.8, 0.3)
    at = x.clone()
    for _ in range(4):
        at.requires_grad_()
        slope = torch.autograd.grad(F.cross_entropy(model(at), y, reduction="sum"), at)[0]
        with torch.no_grad():
            if norm == "linf":
                at = torch.min(torch.max(at + size * slope.sign(), x - epsilon), x + epsilon).clamp(0, 1)
            else:
                offset = at + size * slope / slope.flatten(1).norm(dim=1).view(-1, 1, 1, 1) - x
                long = offset.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
                at = (x + torch.where(long > epsilon, offset * epsilon / long, offset)).clamp(0, 1)
    ours = pgd(model, x, y, epsilon, 4, size, norm, start="none")  # type: ignore[arg-type]
    torch.testing.assert_close(ours, at, rtol=1e-5, atol=1e-5)


def test_one_step_from_the_image_is_fgsm() -> None:
    model, (x, y) = trained(), images(20)
    assert torch.equal(pgd(model, x, y, 0.1, steps=1, step_size=0.1, start="none"), fgsm(model, x, y, 0.1))


def test_is_stronger_than_fgsm() -> None:
    model, (x, y) = trained(), images()
    assert accuracy(model, pgd(model, x, y, 0.15), y) < accuracy(model, fgsm(model, x, y, 0.15), y)


def test_zero_strength_is_the_identity() -> None:
    x, y = images(10)
    for norm in ("linf", "l2"):
        assert torch.equal(pgd(trained(), x, y, 0.0, norm=norm), x)  # type: ignore[arg-type]


def test_restarts_keep_the_worst_of_each_sample() -> None:
    """At least as wrong and, where still right, with at least as high a loss as the first run alone."""
    model, (_, _, x, y) = trained(), digits()
    torch.manual_seed(3)
    one = pgd(model, x, y, 0.06, steps=2)
    torch.manual_seed(3)
    many = pgd(model, x, y, 0.06, steps=2, restarts=6)
    right, still = (model(images).argmax(1) == y for images in (one, many))
    assert not (still & ~right).any()
    assert still.sum() < right.sum()
    before, after = (F.cross_entropy(model(images), y, reduction="none") for images in (one, many))
    assert (after[still] >= before[still] - 1e-6).all()
    assert torch.equal(many[~right], one[~right])  # what was wrong takes part in no further run


def test_draws_are_the_generators() -> None:
    model, (x, y) = trained(), images(10)

    def run(seed: int) -> torch.Tensor:
        return pgd(model, x, y, 0.1, steps=1, generator=torch.Generator().manual_seed(seed))

    state = torch.get_rng_state()
    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))
    assert torch.equal(torch.get_rng_state(), state)


def test_soft_targets_of_one_class_are_that_class() -> None:
    model, (x, y) = trained(), images(20)
    soft = pgd(model, x, F.one_hot(y, 10).float(), 0.1, start="none")
    torch.testing.assert_close(soft, pgd(model, x, y, 0.1, start="none"))


def test_errors() -> None:
    x, y = images(1)
    with pytest.raises(ZooError, match="steps must be at least 1, got 0"):
        pgd(trained(), x, y, 0.1, steps=0)
    with pytest.raises(ZooError, match=r"restarts is 3 with start='none'"):
        pgd(trained(), x, y, 0.1, restarts=3, start="none")
