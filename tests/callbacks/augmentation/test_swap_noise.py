"""Swap noise: columns keep their values, the share that is swapped, resume and refusals."""

from pathlib import Path

import pytest
import torch

from callbacks.augmentation.swap_noise import SwapNoise, swap_noise
from callbacks.technique import NoEffect, UnsupportedModule
from tests.callbacks.augmentation.augmentation_checks import (
    check_resume,
    check_second_fit,
    diabetes,
    diabetes_mlp,
    digits,
    digits_cnn,
    fit,
    wine,
    wine_mlp,
)
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.module import ZooModule


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_equals_a_loop_over_the_table(dtype: torch.dtype) -> None:
    x = torch.arange(30).view(6, 5).to(dtype)
    swapped, offset = torch.rand(6, 5) < 0.5, torch.randint(1, 6, (6, 5))
    expected = x.clone()
    for row in range(6):
        for column in range(5):
            if swapped[row, column]:
                expected[row, column] = x[(row + int(offset[row, column])) % 6, column]
    assert torch.equal(swap_noise(x, swapped, offset), expected)


@pytest.mark.parametrize("p", [0.05, 0.5])
def test_share_and_donors_over_seeds(p: float) -> None:
    """All numbers of the table differ, so that a cell tells where it came from."""
    rows, columns, times = 8, 5, 400
    x = torch.arange(rows * columns).float().view(rows, columns)
    changed, donors = 0, torch.zeros(rows)
    for seed in range(times):
        torch.manual_seed(seed)
        noisy = SwapNoise(p).transform(ZooModule(), Batch(x)).x
        assert torch.equal(noisy % columns, x % columns)  # each value stays in its column
        moved = noisy != x
        changed += int(moved.sum())
        donors += torch.bincount((noisy[moved] // columns).long(), minlength=rows)
    n = rows * columns * times
    assert changed / n == pytest.approx(p, abs=5 * (p * (1 - p) / n) ** 0.5)  # another row each time: p, not p (B-1)/B
    assert (donors / changed - 1 / rows).abs().max() < 5 * (1 / rows / changed) ** 0.5


@pytest.mark.parametrize(("model", "data"), [(wine_mlp, wine), (diabetes_mlp, diabetes)])
def test_resumes_to_the_bit(tmp_path: Path, model, data) -> None:
    check_resume(model, data, lambda: SwapNoise(0.2), tmp_path)


def test_second_fit() -> None:
    check_second_fit(wine_mlp(), wine(), SwapNoise(), "SwapNoise")


def test_learns_wine() -> None:
    model = fit(wine_mlp(), wine(), SwapNoise(0.1), epochs=30)
    assert model.trainer.callback_metrics["val/accuracy"] > 0.9


def test_refusals() -> None:
    with pytest.raises(NoEffect, match=r"SwapNoise has changed nothing .* p is 0.0 and has to be positive"):
        fit(wine_mlp(), wine(), SwapNoise(0.0), epochs=1)
    with pytest.raises(ZooError, match="SwapNoise: p is a probability in"):
        SwapNoise(1.0)
    with pytest.raises(UnsupportedModule, match="SwapNoise does not support ResNet: it works on vectors, not"):
        fit(digits_cnn(), digits(), SwapNoise())
    with pytest.raises(UnsupportedModule, match="SwapNoise does not support ZooModule"):
        SwapNoise().setup(None, ZooModule(), "fit")
