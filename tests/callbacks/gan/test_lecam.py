"""LeCam against its formula; the anchors over a run, in the checkpoint, and after the warm-up."""

from pathlib import Path
from typing import Any

import pytest
import torch

from callbacks.gan.lecam import LeCam, lecam
from callbacks.optimizers.adam import Adam
from callbacks.technique import NoEffect
from tests.callbacks.gan.step_checks import check_unsupported
from tests.gan_checks import assert_resumes, assert_same, copy, fit, ring_gan
from zoo.errors import ZooError
from zoo.gan import GAN
from zoo.play import Play


def test_equals_the_formula() -> None:
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([-2.0, 0.0])
    found = lecam(real, fake, torch.tensor(0.5), torch.tensor(-0.25))
    assert found.item() == pytest.approx((1.25**2 + 3.25**2) / 2 + (2.5**2 + 0.5**2) / 2)


def test_anchors_are_exponential_means() -> None:
    seen: list[tuple[float, float]] = []
    gan, technique = ring_gan(), LeCam(decay=0.8, warmup=0)
    gan.observers["watch"] = lambda module, play: seen.append(
        (play.real_logits.mean().item(), play.fake_logits.mean().item())
    )
    fit(gan, technique)
    expected = list(seen[0])
    for now in seen[1:]:
        expected = [0.8 * old + 0.2 * new for old, new in zip(expected, now)]
    assert technique.anchors is not None
    assert technique.anchors.tolist() == pytest.approx(expected, rel=1e-5)


def test_begins_after_the_warmup() -> None:
    plain, warming, acting = ring_gan(), ring_gan(), ring_gan()
    fit(plain)
    fit(warming, LeCam(warmup=5))
    fit(acting, LeCam(warmup=4))
    assert_same(copy(plain), copy(warming))
    assert not torch.equal(plain.discriminator.head.logit.weight, acting.discriminator.head.logit.weight)


def test_pulls_the_logits_together() -> None:
    spreads = []
    for callbacks in ([], [LeCam(3.0, warmup=0)]):
        gan = ring_gan()
        spread: list[float] = []

        def watch(module: GAN, play: Play, spread: list[float] = spread) -> Any:
            spread.append((play.real_logits.mean() - play.fake_logits.mean()).item())

        gan.observers["watch"] = watch
        # A generator that stands still, whose samples the discriminator learns to tell.
        fit(gan, *callbacks, Adam(1e-9, network="generator"), Adam(0.02, network="discriminator"), max_epochs=4)
        spreads.append(sum(spread[-10:]) / 10)
    assert abs(spreads[1]) < 0.5 * abs(spreads[0])


def test_resumes(tmp_path: Path) -> None:
    assert_resumes(lambda: [LeCam(0.3, warmup=3)], tmp_path)


def test_errors() -> None:
    check_unsupported(LeCam())
    with pytest.raises(NoEffect, match=r"weight is 0.0; it has to be positive"):
        fit(ring_gan(), LeCam(0.0), max_epochs=2)
    with pytest.raises(ZooError, match=r"LeCam: decay must lie in \[0, 1\), got 1.0"):
        LeCam(decay=1.0)
    with pytest.raises(ZooError, match=r"LeCam: warmup must not be negative"):
        LeCam(warmup=-1)
