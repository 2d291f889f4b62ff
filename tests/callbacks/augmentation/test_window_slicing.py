"""Window slicing: the steps of a loop, all starts equally often, stretched as numpy does, resume and refusals."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from callbacks.augmentation.window_slicing import WindowSlicing, slice_windows, stretch_windows
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
from tests.tools import quiet_trainer
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.forecasting import NLinear
from zoo.module import ZooModule
from zoo.task import Forecasting

START, KEPT = torch.tensor([2, 0, 1, 4]), torch.tensor([6, 1, 3, 3])


@pytest.mark.parametrize("per_step", [False, True])
def test_slices_equal_a_loop(per_step: bool) -> None:
    batch = padded_batch(per_step)
    sliced = slice_windows(batch, START, KEPT, 7)
    assert sliced.x.shape == (4, 7, 2)
    assert sliced.lengths is KEPT
    for row, (start, kept) in enumerate(zip(START.tolist(), KEPT.tolist())):
        assert torch.equal(sliced.x[row, :kept], batch.x[row, start : start + kept])
        assert not sliced.x[row, kept:].any()
        if per_step:
            assert sliced.y[row].tolist() == [*range(start, start + kept), *[-100] * (7 - kept)]


def test_stretched_slices_equal_numpy() -> None:
    batch = padded_batch()
    stretched = stretch_windows(batch, START, KEPT, batch.lengths)
    for row, (start, kept, length) in enumerate(zip(START.tolist(), KEPT.tolist(), batch.lengths.tolist())):
        place = np.linspace(start, start + kept - 1, length)
        for channel in range(2):
            expected = np.interp(place, np.arange(9), batch.x[row, :, channel].numpy())
            np.testing.assert_allclose(stretched.x[row, :length, channel], expected, rtol=1e-5)
        assert not stretched.x[row, length:].any()
    assert torch.equal(stretched.lengths, batch.lengths)


@pytest.mark.parametrize("ratio", [0.5, 0.9])
def test_every_start_is_as_likely(ratio: float) -> None:
    x = torch.arange(20.0).expand(6000, 20).unsqueeze(2)
    sliced = WindowSlicing(ratio, stretch=False).transform(ZooModule(), Batch(x))
    kept = math.ceil(ratio * 20)
    assert sliced.x.shape == (6000, kept, 1)
    assert sliced.lengths is None
    starts = torch.bincount(sliced.x[:, 0, 0].long(), minlength=21 - kept)
    assert len(starts) == 21 - kept
    share = 1 / len(starts)
    assert (starts / 6000 - share).abs().max() < 5 * (share * (1 - share) / 6000) ** 0.5


def test_short_sequences_keep_two_steps() -> None:
    sliced = WindowSlicing(0.1, stretch=False).transform(ZooModule(), padded_batch())
    assert sliced.lengths.tolist() == [2, 1, 2, 2]
    assert sliced.x.shape[1] == 2


def test_resumes_to_the_bit(tmp_path: Path) -> None:
    check_resume(vowels_net, vowels, lambda: WindowSlicing(0.7), tmp_path)


@pytest.mark.parametrize("stretch", [False, True])
def test_learns_vowels(stretch: bool) -> None:
    model = fit(vowels_net(), vowels(), WindowSlicing(0.8, stretch), epochs=20)
    assert model.trainer.callback_metrics["val/accuracy"] > 0.6


def test_second_fit() -> None:
    check_second_fit(vowels_net(), vowels(), WindowSlicing(), "WindowSlicing")


def test_refusals() -> None:
    with pytest.raises(NoEffect, match=r"WindowSlicing has changed nothing .* ratio is 1.0; it has to be below 1"):
        fit(vowels_net(), vowels(), WindowSlicing(1.0), epochs=1)
    for ratio in (0.0, 1.5):
        with pytest.raises(ZooError, match=r"WindowSlicing: ratio is a share in \(0, 1\], got"):
            WindowSlicing(ratio)
    with pytest.raises(UnsupportedModule, match="WindowSlicing does not support MLP: it works on seq"):
        fit(diabetes_mlp(), diabetes(), WindowSlicing(), epochs=1)
    with pytest.raises(UnsupportedModule, match="WindowSlicing does not support the task Forecasting; use Classif"):
        WindowSlicing().setup(quiet_trainer(), NLinear(1, 8, Forecasting(1, 4)), "fit")
    with pytest.raises(UnsupportedModule, match="WindowSlicing does not support ZooModule"):
        WindowSlicing().setup(None, ZooModule(), "fit")  # type: ignore[arg-type]
