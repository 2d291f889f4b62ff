"""What the tests of the slope penalties share: a discriminator whose slope is known, and a run."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from callbacks.gan.slopes import SlopePenalty
from callbacks.technique import NoEffect, UnsupportedModule
from tests.callbacks.gan.step_checks import check_unsupported
from tests.gan_checks import assert_resumes, copy, fit, ring_gan
from zoo.errors import ZooError
from zoo.gan import GAN
from zoo.generators.base import Discriminator, Judgement
from zoo.generators.mlp import MLPGenerator
from zoo.play import Play


class Quadratic(Discriminator):
    """D(x) = a |x|^2 / 2 + b . x, so that dD/dx = a x + b."""

    def __init__(self) -> None:
        super().__init__([2], 0)
        self.a, self.b = nn.Parameter(torch.tensor(0.7)), nn.Parameter(torch.tensor([0.3, -1.2]))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Judgement:
        return Judgement(self.a * x.square().sum(1) / 2 + x @ self.b)

    def slope(self, x: Tensor) -> Tensor:
        return self.a * x + self.b


def quadratic() -> tuple[GAN, Quadratic]:
    discriminator = Quadratic()
    return GAN(MLPGenerator([2], hidden=[4]), discriminator), discriminator


def play(gan: GAN, step: int = 0, size: int = 5) -> Play:
    torch.manual_seed(0)
    real, fake = torch.randn(size, 2).requires_grad_(), torch.randn(size, 2).requires_grad_()
    return Play(real, fake, None, gan.discriminator(real).logits, gan.discriminator(fake).logits, step)


def assert_equals(found: Tensor, expected: Tensor, discriminator: Quadratic) -> None:
    """The penalty and its gradient by the weights, which needs the second derivative."""
    torch.testing.assert_close(found, expected)
    ours, theirs = (
        torch.autograd.grad(v, list(discriminator.parameters()), retain_graph=True) for v in (found, expected)
    )
    torch.testing.assert_close(ours, theirs)


def check_in_a_game(make: Callable[..., SlopePenalty], folder: Path) -> None:
    """It acts, lazily with the same mean, resumes, refuses batch norm, complains."""
    name = make().name
    with_it, without = ring_gan(), ring_gan()
    fit(with_it, make())
    fit(without)
    assert not torch.equal(
        copy(with_it)["discriminator.head.logit.weight"], copy(without)["discriminator.head.logit.weight"]
    )
    assert not with_it.discriminator_penalties
    gan, _ = quadratic()
    torch.manual_seed(1)
    every = make().weighted(gan, play(gan, 0))
    torch.manual_seed(1)
    lazy = [make(interval=4).weighted(gan, play(gan, step)) for step in range(8)]
    assert [value.requires_grad for value in lazy] == [True, False, False, False] * 2
    torch.testing.assert_close(lazy[0], 4 * every)
    assert_resumes(lambda: [make(interval=3, final_weight=0.5, share=0.7)], folder)
    gan = ring_gan()
    gan.discriminator.layers.append(nn.BatchNorm1d(16))
    with pytest.raises(
        UnsupportedModule, match=rf"{name} needs the gradient at each sample, and batch norm .*\(layers.2\)"
    ):
        fit(gan, make())
    with pytest.raises(NoEffect, match=f"{name} has changed nothing .* weight is 0.0; it has to be positive"):
        fit(ring_gan(), make(weight=0.0), max_epochs=2)
    with pytest.raises(ZooError, match=f"{name}: weight must be finite and not negative, got -1.0"):
        make(weight=-1.0)
    with pytest.raises(ZooError, match=f"{name}: interval must be at least 1, got 0"):
        make(interval=0)
    with pytest.raises(ZooError, match=rf"{name}: share is a part of the run, in \(0, 1\], got 0"):
        make(share=0.0)
    check_unsupported(make())
