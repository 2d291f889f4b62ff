"""The generator's average against the recursion by hand; what is sampled, kept and trained on; resume; half-lives."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch import Tensor

from callbacks.gan.generator_ema import GeneratorEMA, half_life_decay
from callbacks.technique import Technique
from tests.callbacks.gan.step_checks import check_unsupported
from tests.gan_checks import assert_resumes, assert_same, copy, digits, digits_gan, fit, ring_gan
from tests.tools import StopAt, Stopped
from zoo.errors import ZooError
from zoo.gan import GAN
from zoo.module import ZooModule


class Raw(Callback):
    """The generator as the optimizer left it, at the start and after each round."""

    def __init__(self) -> None:
        self.states: list[dict[str, Tensor]] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.states = [copy(pl_module.generator)]

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        self.states.append(copy(pl_module.generator))


def by_hand(states: list[dict[str, Tensor]], images: int, half_life: float, ramp: float) -> dict[str, Tensor]:
    average = {name: value.double() for name, value in states[0].items()}
    for k, weights in enumerate(states[1:], start=1):
        bounded = min(half_life, ramp * images * k) if ramp else half_life
        decay = 2 ** (-images / bounded)
        average = {name: decay * average[name] + (1 - decay) * value.double() for name, value in weights.items()}
    return {
        n: a.to(states[-1][n].dtype) if states[-1][n].is_floating_point() else states[-1][n] for n, a in average.items()
    }


def test_half_life() -> None:
    assert half_life_decay(100, 100, 10**9, 0.05) == 0.5
    assert half_life_decay(100, 1e9, 2000, 0.05) == 0.5  # a twentieth of 2,000 images
    assert half_life_decay(100, 200, 0, 0.0) == pytest.approx(2**-0.5)
    assert half_life_decay(100, 200, 0, 0.5) == 0.0


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("ramp", [0.0, 0.5])
def test_equals_the_recursion_by_hand(steps: int, ramp: float) -> None:
    """Half-lives count images of the generator's steps, however many steps the discriminator makes between them."""
    gan, raw = digits_gan(discriminator_steps=steps), Raw()
    before = copy(gan.discriminator)
    fit(gan, raw, GeneratorEMA(300, ramp), data=digits(64 * steps), max_epochs=2)
    expected = by_hand(raw.states, 64, 300, ramp)
    torch.testing.assert_close(copy(gan.generator), expected, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(expected["layers.0.weight"], raw.states[-1]["layers.0.weight"], atol=1e-4)
    assert not torch.equal(before["head.logit.weight"], gan.discriminator.head.logit.weight)


def test_training_does_not_feel_it() -> None:
    with_it, without = Raw(), Raw()
    averaged, plain = ring_gan(), ring_gan()
    fit(averaged, GeneratorEMA(100), with_it, max_epochs=2)
    fit(plain, without, max_epochs=2)
    for first, second in zip(with_it.states, without.states, strict=True):
        assert_same(first, second)
    assert_same(copy(averaged.discriminator), copy(plain.discriminator))


def test_the_average_is_what_is_sampled_and_kept(tmp_path: Path) -> None:
    raw, samples = Raw(), []

    class Watch(Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: GAN) -> None:
            samples.append(pl_module.sample(8))
            trainer.save_checkpoint(tmp_path / "last.ckpt")

    gan = ring_gan()
    fit(gan, raw, GeneratorEMA(200), Watch(), max_epochs=2)
    expected = by_hand(raw.states, 64, 200, 0.05)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    kept = {n.removeprefix("generator."): v for n, v in saved["state_dict"].items() if n.startswith("generator.")}
    torch.testing.assert_close(kept, expected, rtol=1e-4, atol=1e-6)
    assert all(
        torch.equal(v, raw.states[-1][n.removeprefix("generator.")]) for n, v in saved["training_generator"].items()
    )
    plain = ring_gan()  # without the technique
    plain.load_state_dict(saved["state_dict"])
    assert torch.equal(plain.sample(8), samples[-1])
    assert torch.equal(gan.sample(8), samples[-1])


def test_resumes(tmp_path: Path) -> None:
    assert_resumes(lambda: [GeneratorEMA(200)], tmp_path, lambda: ring_gan(discriminator_steps=2))
    assert_resumes(lambda: [GeneratorEMA(500)], tmp_path, digits_gan, digits)


def test_a_run_that_gets_an_average_when_it_is_resumed(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        fit(ring_gan(), StopAt(tmp_path / "cut.ckpt", 0, 2))
    gan, raw = ring_gan(), Raw()
    fit(gan, raw, GeneratorEMA(200), ckpt=tmp_path / "cut.ckpt")
    torch.testing.assert_close(copy(gan.generator), by_hand(raw.states, 64, 200, 0.05), rtol=1e-4, atol=1e-6)


def test_follows_an_init_scheme() -> None:
    class Fill(Technique):
        def attach(self, module: ZooModule) -> None:
            self.add_initializer(module, lambda m: torch.nn.init.constant_(m.generator.layers[0].bias, 3.0))  # type: ignore

    ema = GeneratorEMA(1e9, ramp=0)
    gan = ring_gan()
    fit(gan, ema, Fill(), max_steps=1)
    assert (gan.generator.layers[0].bias - 3).abs().max() < 0.01


def test_errors() -> None:
    check_unsupported(GeneratorEMA())
    with pytest.raises(ZooError, match="GeneratorEMA: half_life must be positive, got 0"):
        GeneratorEMA(0)
    with pytest.raises(ZooError, match=r"GeneratorEMA: ramp is a part of the run in \[0, 1\]"):
        GeneratorEMA(ramp=2.0)
