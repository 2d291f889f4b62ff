"""Scaling of sequences: size of the factors over seeds, padding, targets to forecast, resume and refusals."""

from pathlib import Path

import pytest
import torch

from callbacks.augmentation.scaling import Scaling
from callbacks.technique import NoEffect, UnsupportedModule
from tests.callbacks.augmentation.augmentation_checks import (
    check_resume,
    check_second_fit,
    diabetes,
    diabetes_mlp,
    fit,
    padded_batch,
    vowels,
    vowels_net,
)
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.module import ZooModule


@pytest.mark.parametrize("per", ["channel", "sample"])
def test_one_factor_a_channel_or_a_sample(per: str) -> None:
    x = torch.rand(2000, 5, 3) + 1
    factor = Scaling(0.2, per).transform(ZooModule(), Batch(x)).x / x  # type: ignore[arg-type]
    assert torch.allclose(factor, factor[:, :1].expand_as(factor)), "the same for all steps"
    channels = factor[:, 0]
    if per == "sample":
        assert torch.allclose(channels, channels[:, :1].expand_as(channels))
    else:
        assert torch.corrcoef(channels.T)[0, 1].abs() < 5 / 2000**0.5
    assert channels[:, 0].mean().item() == pytest.approx(1, abs=5 * 0.2 / 2000**0.5)
    assert channels[:, 0].std().item() == pytest.approx(0.2, rel=5 / 4000**0.5)


def test_padding_targets_and_the_batch_itself_stay() -> None:
    batch = padded_batch()
    before = batch.x.clone()
    scaled = Scaling(0.5).transform(ZooModule(), batch)
    assert torch.equal(batch.x, before)
    assert torch.equal(scaled.x == 0, before == 0)
    assert torch.equal(scaled.y, batch.y)


@pytest.mark.parametrize("per", ["channel", "sample"])
def test_what_is_forecast_is_scaled_with_its_channels(per: str) -> None:
    x = torch.rand(4, 6, 3) + 1
    batch = Batch(x, x[:, -1:, :2].repeat(1, 5, 1))  # the last value of the first two channels goes on
    scaled = Scaling(0.3, per).transform(ZooModule(), batch)  # type: ignore[arg-type]
    assert torch.allclose(scaled.y, scaled.x[:, -1:, :2].expand(4, 5, 2))


def test_resumes_to_the_bit(tmp_path: Path) -> None:
    check_resume(vowels_net, vowels, lambda: Scaling(0.2), tmp_path)


def test_second_fit() -> None:
    check_second_fit(vowels_net(), vowels(), Scaling(), "Scaling")


def test_learns_vowels() -> None:
    model = fit(vowels_net(), vowels(), Scaling(0.1), epochs=20)
    assert model.trainer.callback_metrics["val/accuracy"] > 0.6


def test_refusals() -> None:
    with pytest.raises(NoEffect, match=r"Scaling has changed nothing .* std is 0.0; it has to be positive"):
        fit(vowels_net(), vowels(), Scaling(0.0), epochs=1)
    with pytest.raises(ZooError, match="Scaling: std must not be negative, got -1"):
        Scaling(-1.0)
    with pytest.raises(UnsupportedModule, match="Scaling does not support MLP: it works on sequences, not on vect"):
        fit(diabetes_mlp(), diabetes(), Scaling(), epochs=1)
    with pytest.raises(UnsupportedModule, match="Scaling does not support ZooModule"):
        Scaling().setup(None, ZooModule(), "fit")  # type: ignore[arg-type]
