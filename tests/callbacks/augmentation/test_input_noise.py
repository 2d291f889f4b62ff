"""Input noise: its size over seeds, the penalty it is worth, resume and refusals."""

from pathlib import Path

import pytest
import torch
from torch import nn

from callbacks.augmentation.input_noise import InputNoise, add_noise, channel_deviation
from callbacks.technique import NoEffect, UnsupportedModule
from tests.callbacks.augmentation.augmentation_checks import (
    check_resume,
    check_second_fit,
    diabetes,
    diabetes_mlp,
    digits,
    digits_cnn,
    fit,
    padded_batch,
    wine,
    wine_mlp,
)
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.module import ZooModule


@pytest.mark.parametrize("std", [0.01, 0.5])
def test_noise_has_the_size_that_was_asked_for(std: float) -> None:
    noise = torch.cat([add_noise(torch.full((100, 10), 3.0), std) - 3 for _ in range(20)])
    n = noise.numel()
    assert noise.mean().item() == pytest.approx(0, abs=5 * std / n**0.5)
    assert noise.std().item() == pytest.approx(std, rel=5 / (2 * n) ** 0.5)


def test_is_a_penalty_on_the_slope() -> None:
    """For a linear map and a squared error the expected extra loss is std^2 |w|^2, exactly."""
    torch.manual_seed(0)
    layer, x, std = nn.Linear(5, 1), torch.randn(50_000, 5), 0.3
    with torch.no_grad():
        extra = (layer(add_noise(x, std)) - layer(x)).square().mean()
        expected = std**2 * layer.weight.square().sum()
    assert extra.item() == pytest.approx(expected.item(), rel=0.05)


def test_targets_and_the_batch_itself_stay() -> None:
    batch = Batch(torch.zeros(4, 3), torch.arange(4))
    noisy = InputNoise(0.1).transform(ZooModule(), batch)
    assert not batch.x.any()
    assert noisy.x.all()
    assert torch.equal(noisy.y, batch.y)


def test_padding_of_sequences_stays() -> None:
    batch = padded_batch()
    noisy = InputNoise(0.1).transform(ZooModule(), batch)
    assert torch.equal(noisy.x == 0, batch.x == 0)
    assert torch.equal(noisy.lengths, batch.lengths)


@pytest.mark.parametrize("shape", [(40, 3), (40, 20, 3), (40, 3, 6, 6)])
def test_noise_in_units_of_each_channel(shape: tuple[int, ...]) -> None:
    channel = 1 if len(shape) == 4 else -1
    unit = torch.tensor([0.01, 1.0, 100.0])
    x = torch.randn(shape).movedim(channel, -1) * unit
    batch, technique = Batch(x.movedim(-1, channel)), InputNoise(0.2, per_channel=True)
    noisy = [technique.transform(ZooModule(), batch).x.movedim(channel, -1) for _ in range(20)]
    size = (torch.stack(noisy) - x).flatten(0, -2).std(0)
    expected = 0.2 * x.flatten(0, -2).std(0, correction=0)
    assert torch.allclose(size, expected, rtol=5 / (2 * 20 * 40) ** 0.5)


def test_padding_counts_for_no_deviation() -> None:
    batch = padded_batch()
    valid = batch.x[torch.arange(9) < batch.lengths[:, None]]  # (steps, C)
    deviation = channel_deviation(batch.x, batch.lengths)
    assert torch.allclose(deviation[0, 0], valid.std(0, correction=0), rtol=1e-4)


@pytest.mark.parametrize(("model", "data"), [(digits_cnn, digits), (diabetes_mlp, diabetes)])
def test_resumes_to_the_bit(tmp_path: Path, model, data) -> None:
    check_resume(model, data, lambda: InputNoise(0.2), tmp_path)


def test_second_fit() -> None:
    check_second_fit(wine_mlp(), wine(), InputNoise(), "InputNoise")


def test_learns_digits() -> None:
    model = fit(digits_cnn(), digits(64), InputNoise(0.2), epochs=5)
    assert model.trainer.callback_metrics["val/accuracy"] > 0.8


def test_refusals() -> None:
    with pytest.raises(NoEffect, match=r"InputNoise has changed nothing .* std is 0.0; it has to be positive"):
        fit(wine_mlp(), wine(), InputNoise(0.0), epochs=1)
    with pytest.raises(ZooError, match="InputNoise: std must not be negative, got -1"):
        InputNoise(-1.0)
    with pytest.raises(UnsupportedModule, match=r"inputs that are one tensor of floats, got torch.int64"):
        InputNoise().transform(ZooModule(), Batch(torch.zeros(2, 3).long()))
    with pytest.raises(UnsupportedModule, match="InputNoise does not support ZooModule"):
        InputNoise().setup(None, ZooModule(), "fit")
