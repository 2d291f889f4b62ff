"""The game against a loop by hand; what counts as a step; what each player's step touches; resuming; errors."""

import copy as copying
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch import Tensor
from torch.nn import functional as F

from callbacks.gradients.gradient_clipping import GradientClipping
from callbacks.init.orthogonal import Orthogonal
from callbacks.optimizers.adam import Adam
from callbacks.optimizers.sam import SAM
from callbacks.regularizers.l2 import L2
from callbacks.schedules.cosine import Cosine
from callbacks.schedules.plateau import Plateau
from callbacks.technique import UnsupportedModule
from datamodules.digits import Digits
from tests.gan_checks import assert_resumes, assert_same, copy, digits, digits_gan, fit, ring, ring_gan
from tests.tools import quiet_trainer
from zoo.errors import DataError, NonFiniteError, ZooError
from zoo.gan import GAN
from zoo.generators.mlp import MLPDiscriminator, MLPGenerator
from zoo.randomness import seed_step


def by_hand(gan: GAN, batches: list[tuple[Tensor, Tensor]], discriminator_steps: int) -> GAN:
    """Algorithm 1 of Goodfellow et al. 2014 with the other loss of the generator, as one would write it down."""
    generator, discriminator = gan.generator, gan.discriminator
    of_generator, of_discriminator = (torch.optim.Adam(n.parameters(), 0.01) for n in (generator, discriminator))
    for index, (x, _) in enumerate(batches):
        seed_step(0, index, 0)
        for real in x.chunk(discriminator_steps):
            fake = generator(torch.randn(len(real), 4)).detach()
            on_real, on_fake = discriminator(real).logits, discriminator(fake).logits
            loss = F.binary_cross_entropy_with_logits(on_real, torch.ones(len(real)))
            loss = loss + F.binary_cross_entropy_with_logits(on_fake, torch.zeros(len(real)))
            of_discriminator.zero_grad()
            loss.backward()
            of_discriminator.step()
        on_fake = discriminator(generator(torch.randn(len(real), 4))).logits
        of_generator.zero_grad()
        F.binary_cross_entropy_with_logits(on_fake, torch.ones(len(real))).backward()
        of_generator.step()
    return gan


class Batches(Callback):
    """The training batches as the module gets them."""

    def __init__(self) -> None:
        self.seen: list[tuple[Tensor, Tensor]] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.seen.append(batch)


def players() -> list[Callback]:
    return [Adam(0.01, network="generator"), Adam(0.01, network="discriminator")]


@pytest.mark.parametrize("steps", [1, 2])
def test_equals_a_loop_by_hand(steps: int) -> None:
    gan, batches = ring_gan(discriminator_steps=steps), Batches()
    start = copying.deepcopy(gan)
    fit(gan, batches, *players())
    assert len(batches.seen) == 5
    expected = by_hand(start, batches.seen, steps)
    torch.testing.assert_close(copy(gan), copy(expected), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_global_step_counts_rounds(steps: int) -> None:
    gan, batches = ring_gan(discriminator_steps=steps), Batches()
    trainer = fit(gan, batches, max_steps=7, max_epochs=-1)
    assert trainer.global_step == 7 == len(batches.seen)
    made = [{int(state["step"]) for state in o.state_dict()["state"].values()} for o in trainer.optimizers]
    assert made == [{7}, {7 * steps}]


def test_a_player_leaves_the_other_alone() -> None:
    gan = ring_gan()
    fit(gan, Adam(1e-9, network="discriminator"), Adam(0.01, network="generator"))
    before = ring_gan()
    torch.testing.assert_close(copy(gan.discriminator), copy(before.discriminator), rtol=0, atol=1e-6)
    assert not torch.allclose(gan.generator.layers[0].weight, before.generator.layers[0].weight, atol=1e-3)


@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_micro_batches_make_the_same_step(player: str) -> None:
    """Noise is drawn part after part: in one round the numbers are those of a single draw."""
    whole, parted = ring_gan(), ring_gan(**{f"{player}_micro_batches": 4})
    for gan in (whole, parted):
        fit(gan, *players(), max_steps=1, data=ring(batch_size=64))
    torch.testing.assert_close(copy(whole), copy(parted), rtol=1e-4, atol=1e-6)


def test_parts_of_unequal_size_count_by_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    # 64 in three parts: torch draws other numbers for 22, 21 and 21 vectors than for 64, so the fakes are made alike.
    monkeypatch.setattr(GAN, "_fakes", lambda gan, batch: gan.generator(batch.x.repeat(1, 2)))
    whole, parted = ring_gan(), ring_gan(discriminator_micro_batches=3, generator_micro_batches=3)
    for gan in (whole, parted):
        fit(gan, *players(), max_steps=1, data=ring(batch_size=64))
    torch.testing.assert_close(copy(whole), copy(parted), rtol=1e-4, atol=1e-6)


def test_schedules_and_clipping_of_each_player() -> None:
    rates: list[tuple[float, float]] = []
    norms: list[float] = []

    class Rates(Callback):
        def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
            rates.append(tuple(o.param_groups[0]["lr"] for o in trainer.optimizers))
            norms.append(torch.stack([p.grad.norm() for p in gan.discriminator.parameters()]).norm().item())

    gan = ring_gan(discriminator_steps=2)
    clip = GradientClipping(1e-3, network="discriminator")
    fit(gan, *players(), Cosine(network="generator", warmup=0.0), clip, Rates(), max_epochs=2)
    generator, discriminator = zip(*rates)
    expected = [0.01 * (1 + torch.cos(torch.tensor(torch.pi * k / 10)).item()) / 2 for k in range(1, 11)]
    assert list(generator) == pytest.approx(expected, abs=1e-9)
    assert set(discriminator) == {0.01}
    assert norms == pytest.approx([1e-3] * 10, rel=1e-3)


def test_resumes_to_the_bit(tmp_path: Path) -> None:
    def company() -> list[Callback]:
        return [*players(), Cosine(network="generator"), Cosine(network="discriminator")]

    assert_resumes(company, tmp_path, lambda: ring_gan(discriminator_steps=2))


def test_resumes_to_the_bit_with_batch_norm_and_labels(tmp_path: Path) -> None:
    assert_resumes(players, tmp_path, digits_gan, digits)
    assert_resumes(players, tmp_path, lambda: ring_gan(conditioning="auxiliary", spectral_norm=True))


def test_noise_is_another_in_each_step_and_the_same_in_each_run() -> None:
    class Watched(MLPGenerator):
        def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
            seen.append(z.clone())
            return super().forward(z, y)

    runs = []
    for _ in range(2):
        seen: list[Tensor] = []
        torch.manual_seed(0)
        fit(GAN(Watched([2], latent_dim=4, hidden=[8]), MLPDiscriminator([2], hidden=[8])), limit_val_batches=0)
        runs.append(torch.stack(seen))
    assert torch.equal(runs[0], runs[1])
    assert len(runs[0]) == 10
    assert len(runs[0].flatten().unique()) == runs[0].numel()


@pytest.mark.parametrize("conditioning", ["concatenation", "auxiliary", "projection"])
def test_labels_reach_both_players(conditioning: str) -> None:
    """Each class has its own place: after a while samples of a class lie on its side of the circle."""
    gan = ring_gan(conditioning=conditioning, class_weight=1.0)
    assert gan.conditional
    data = ring(batch_size=128, size=2560)
    fit(gan, Adam(0.01, (0.5, 0.99), network="generator"), Adam(0.01, (0.5, 0.99), network="discriminator"), data=data,
        max_epochs=8, limit_val_batches=1)  # fmt: skip
    labels = torch.arange(8).repeat_interleave(64)
    centres = gan.sample(512, labels).view(8, 64, 2).mean(1)
    angles = torch.atan2(centres[:, 1], centres[:, 0])
    expected = torch.arange(8) * torch.pi / 4
    assert torch.cos(angles - expected).mean() > 0.8


def test_samples_are_a_function_of_weights_and_arguments() -> None:
    gan = digits_gan().train()
    state = torch.get_rng_state()
    first, second = gan.sample(10, seed=3), gan.sample(10, seed=3, batch_size=4)
    assert torch.equal(torch.get_rng_state(), state)
    assert gan.generator.training
    assert first.shape == (10, 1, 8, 8)
    torch.testing.assert_close(first, second)
    assert not torch.equal(first, gan.sample(10, seed=4))
    assert gan.sample(10, truncation=0.01).std(0).max() < 0.1 * first.std(0).max()
    with pytest.raises(ZooError, match="trained without labels"):
        gan.sample(2, torch.zeros(2).long())
    with pytest.raises(ZooError, match=r"label 8 is outside 0\.\.7"):
        ring_gan(conditioning="projection").sample(2, torch.tensor([0, 8]))


def test_what_is_logged_and_predicted() -> None:
    gan = digits_gan()
    trainer = fit(gan, data=digits())
    names = {"discriminator_loss", "generator_loss", "real_logit", "fake_logit"}
    assert trainer.callback_metrics.keys() == {f"train/{n}" for n in names} | {"val/real_logit", "val/fake_logit"}
    (tested,) = quiet_trainer().test(gan, datamodule=digits(), verbose=False)
    assert tested.keys() == {"test/real_logit", "test/fake_logit"}
    predicted = torch.cat(quiet_trainer().predict(gan, datamodule=digits()))  # type: ignore[arg-type]
    assert predicted.shape == (359, 1, 8, 8)
    assert predicted.abs().max() <= 1


# Errors ---------------------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_the_run() -> None:
    gan = ring_gan()
    torch.nn.init.constant_(gan.discriminator.layers[0].weight, float("nan"))
    with pytest.raises(NonFiniteError, match="the discriminator's training loss is nan in epoch 0, batch 0"):
        fit(gan)


@pytest.mark.parametrize("technique", [L2(), SAM(), Orthogonal()])
def test_techniques_for_supervised_models(technique: Callback) -> None:
    if isinstance(technique, Orthogonal):
        fit(ring_gan(), technique)  # init schemes are for all
        return
    with pytest.raises(UnsupportedModule, match="does not support GAN"):
        fit(ring_gan(), technique)


def test_a_technique_has_to_say_which_player() -> None:
    with pytest.raises(
        UnsupportedModule, match="GAN has no network called 'network'; it has: generator, discriminator"
    ):
        fit(ring_gan(), Adam())


def test_a_schedule_that_waits_for_a_metric() -> None:
    with pytest.raises(
        ZooError, match=r"the schedule of the generator waits for .*use a schedule that knows its course"
    ):
        fit(ring_gan(), Plateau(network="generator"))


def test_images_that_a_generator_cannot_make() -> None:
    with pytest.raises(ZooError, match=r"normalises them to \[-0.811, 1.85\]; set --data.normalize symmetric"):
        fit(digits_gan(), data=Digits())
    with pytest.raises(ZooError, match=r"makes samples of shape \[1, 8, 8\], Ring has \[2\]"):
        fit(digits_gan(), data=ring())


def test_a_last_batch_too_small_for_a_round() -> None:
    with pytest.raises(
        DataError, match=r"the last batch holds 4 samples, and a round of 5 parts needs 5; set --data.drop"
    ):
        fit(ring_gan(discriminator_steps=5), data=ring(batch_size=79))


def test_players_that_do_not_fit() -> None:
    with pytest.raises(ZooError, match=r"MLPGenerator has num_classes=0, MLPDiscriminator 8; give both a conditioning"):
        GAN(MLPGenerator([2], 8), MLPDiscriminator([2], 8, conditioning="projection"))
    with pytest.raises(ZooError, match=r"sample_shape=\[2\], MLPDiscriminator \[3\]; give both the same"):
        GAN(MLPGenerator([2]), MLPDiscriminator([3]))
    with pytest.raises(ZooError, match="discriminator_steps must be at least 1, got 0"):
        ring_gan(discriminator_steps=0)
    with pytest.raises(ZooError, match="conditioning=projection needs classes, and num_classes is 0"):
        MLPDiscriminator([2], conditioning="projection")


def test_two_fits_of_one_module() -> None:
    gan = ring_gan()
    fit(gan, *players())
    first = copy(gan)
    fit(gan, *players())
    assert not torch.equal(first["generator.layers.0.weight"], gan.generator.layers[0].weight)
    assert not gan.slot_owners
    again = ring_gan()
    fit(again, *players())
    assert_same(first, copy(again))
