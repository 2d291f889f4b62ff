"""Time warp: numpy's interpolation of the same curve, ends that stay, padding, tags, resume and refusals."""

from pathlib import Path

import numpy as np
import pytest
import torch

from callbacks.augmentation.time_warp import TimeWarp, warped_time
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


def test_equals_numpy_on_each_sequence() -> None:
    batch = padded_batch()
    torch.manual_seed(3)
    warped = TimeWarp(0.5, knots=3).transform(ZooModule(), batch).x.numpy()
    torch.manual_seed(3)
    log_speed = (0.5 * torch.randn(4, 5)).numpy()
    for row, length in enumerate(batch.lengths.tolist()):
        step = np.arange(length)
        speed = np.exp(np.interp(step / max(length - 1, 1) * 4, np.arange(5), log_speed[row]))
        travelled = np.cumsum(np.where(step == 0, 0, speed))
        place = (length - 1) * travelled / max(travelled[-1], 1e-12)
        for channel in range(2):
            expected = np.interp(place, step, batch.x[row, :length, channel].numpy())
            np.testing.assert_allclose(warped[row, :length, channel], expected, rtol=1e-5)
        assert not warped[row, length:].any()


def test_time_runs_forward_from_the_first_step_to_the_last() -> None:
    torch.manual_seed(0)
    lengths = torch.randint(2, 50, (500,))
    time = warped_time(1.0 * torch.randn(500, 6), lengths, 50)
    valid = torch.arange(50) < lengths[:, None]
    assert (time.diff(dim=1)[valid[:, 1:]] > 0).all()
    assert not time[:, 0].any()
    assert torch.equal(time.gather(1, lengths[:, None] - 1)[:, 0], (lengths - 1).float())
    assert (time <= (lengths - 1)[:, None]).all()


def test_even_speed_is_the_identity_and_the_mean_speed_is_even() -> None:
    lengths = torch.tensor([20, 11])
    step = torch.arange(20).minimum((lengths - 1)[:, None])
    assert torch.allclose(warped_time(torch.zeros(2, 6), lengths, 20), step.float(), atol=1e-4)
    torch.manual_seed(0)
    time = warped_time(0.3 * torch.randn(4000, 6), torch.full((4000,), 21), 21)
    # By symmetry the middle is read at 10 in the mean.
    assert time[:, 10].mean().item() == pytest.approx(10, abs=5 * time[:, 10].std().item() / 4000**0.5)
    assert 0.5 < time[:, 10].std() < 2


def test_tags_are_those_of_the_nearest_step() -> None:
    batch = padded_batch(per_step=True)
    batch = batch._replace(x=batch.y.float().clamp(min=0).unsqueeze(2))  # the value says the step
    warped = TimeWarp(0.5).transform(ZooModule(), batch)
    padded = batch.y == -100
    assert torch.equal(warped.y == -100, padded)
    assert ((warped.x[..., 0] - warped.y).abs()[~padded] <= 0.5 + 1e-5).all()
    assert not torch.equal(warped.y, batch.y)


def test_without_lengths_all_steps_count() -> None:
    x = torch.rand(3, 8, 1)
    torch.manual_seed(1)
    free = TimeWarp(0.5).transform(ZooModule(), Batch(x, torch.arange(3)))
    torch.manual_seed(1)
    told = TimeWarp(0.5).transform(ZooModule(), Batch(x, torch.arange(3), torch.full((3,), 8)))
    assert torch.equal(free.x, told.x)
    assert free.lengths is None


def test_resumes_to_the_bit(tmp_path: Path) -> None:
    check_resume(vowels_net, vowels, lambda: TimeWarp(0.5), tmp_path)


def test_second_fit() -> None:
    check_second_fit(vowels_net(), vowels(), TimeWarp(), "TimeWarp")


def test_learns_vowels() -> None:
    model = fit(vowels_net(), vowels(), TimeWarp(), epochs=20)
    assert model.trainer.callback_metrics["val/accuracy"] > 0.6


def test_refusals() -> None:
    with pytest.raises(NoEffect, match=r"TimeWarp has changed nothing .* std is 0.0; it has to be positive"):
        fit(vowels_net(), vowels(), TimeWarp(0.0), epochs=1)
    with pytest.raises(ZooError, match="TimeWarp: std must not be negative, got -1"):
        TimeWarp(-1.0)
    with pytest.raises(ZooError, match="TimeWarp: knots must be at least 1, got 0"):
        TimeWarp(knots=0)
    with pytest.raises(UnsupportedModule, match="TimeWarp does not support MLP: it works on sequences, not on vec"):
        fit(diabetes_mlp(), diabetes(), TimeWarp(), epochs=1)
    with pytest.raises(UnsupportedModule, match="TimeWarp does not support the task Forecasting; use Classification"):
        TimeWarp().setup(quiet_trainer(), NLinear(1, 8, Forecasting(1, 4)), "fit")
    with pytest.raises(UnsupportedModule, match="TimeWarp does not support ZooModule"):
        TimeWarp().setup(None, ZooModule(), "fit")  # type: ignore[arg-type]
