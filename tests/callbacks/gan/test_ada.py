"""ADA: identity at p = 0, how often it changes, where p goes, what a checkpoint holds, gradients."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from callbacks.gan.ada import ADA, recolor, warp
from callbacks.technique import UnsupportedModule
from tests.callbacks.gan.step_checks import check_unsupported
from tests.gan_checks import assert_resumes, digits, digits_gan, fit, ring_gan
from zoo.errors import ZooError


def test_identity_without_probability_and_its_share_with_it() -> None:
    torch.manual_seed(0)
    x, technique, gan = torch.rand(3000, 3, 8, 8), ADA(), digits_gan()
    assert technique.transform(gan, x) is x
    technique.p = 0.2
    changed = (technique.transform(gan, x) != x).flatten(1).any(1).float().mean().item()
    # Three changes; of nine shifts one is none.
    expected = 1 - (1 - 0.2 * 8 / 9) * 0.8**2
    assert changed == pytest.approx(expected, abs=5 * (0.25 / 3000) ** 0.5)


def test_warp_turns_by_all_angles_and_keeps_constant_images() -> None:
    torch.manual_seed(0)
    assert torch.allclose(warp(torch.full((4, 2, 8, 8), 0.3)), torch.tensor(0.3), atol=1e-6)
    x = torch.zeros(2000, 1, 9, 9)
    x[:, :, 4, 7] = 1.0
    turned = warp(x)[:, 0]
    weight = turned / turned.sum((1, 2), keepdim=True).clamp(min=1e-6)
    grid = torch.arange(9.0) - 4
    centre = torch.stack([(weight * grid[:, None]).sum((1, 2)), (weight * grid).sum((1, 2))], 1)
    assert centre.mean(0).abs().max() < 0.2  # no direction is preferred


def test_colours_keep_grey_grey() -> None:
    torch.manual_seed(0)
    grey = torch.rand(50, 1, 4, 4).expand(-1, 3, -1, -1)
    out = recolor(grey)
    assert (out - out.mean(1, keepdim=True)).abs().max() < 1e-5
    assert (out - grey).flatten(1).abs().amax(1).min() > 1e-4


@pytest.mark.parametrize(("logit", "direction"), [(5.0, 1), (-5.0, -1)])
def test_p_follows_how_sure_the_discriminator_is(logit: float, direction: int) -> None:
    gan = digits_gan()
    gan.discriminator.register_forward_hook(lambda module, args, out: out._replace(logits=out.logits * 0 + logit))
    technique = ADA(speed=10_000, interval=2, p=0.5)
    trainer = fit(gan, technique, data=digits(), max_epochs=1)
    # 5 rounds of 256 images: two changes, each of 512 / 10,000.
    assert trainer.global_step == 5
    assert technique.p == pytest.approx(0.5 + direction * 2 * 512 / 10_000)
    assert technique.state_dict()["sums"] == [direction * 256.0, 256.0]


def test_p_stays_a_probability() -> None:
    gan, technique = digits_gan(), ADA(speed=1, interval=1, p=0.5)
    seen: list[float] = []

    class Watch(Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            seen.append(technique.p)

    fit(gan, technique, Watch(), data=digits())
    assert set(seen) <= {0.0, 1.0}


def test_gradients_pass() -> None:
    x = torch.rand(4, 3, 8, 8, dtype=torch.double, requires_grad=True)
    technique, gan = ADA(mirror=True), digits_gan()
    technique.p = 0.7

    def changed(x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(0)
        return technique.transform(gan, x)

    assert torch.autograd.gradcheck(changed, (x,), fast_mode=True)


def test_resumes(tmp_path: Path) -> None:
    assert_resumes(lambda: [ADA(speed=3000, interval=2, p=0.3)], tmp_path, digits_gan, digits)


def test_errors() -> None:
    check_unsupported(ADA())
    with pytest.raises(UnsupportedModule, match="ADA moves and recolours images"):
        fit(ring_gan(), ADA())
    for arguments, text in (({"target": 1.0}, "target"), ({"speed": 0}, "speed and interval"), ({"p": 2.0}, "p is a")):
        with pytest.raises(ZooError, match=f"ADA: {text}"):
            ADA(**arguments)
