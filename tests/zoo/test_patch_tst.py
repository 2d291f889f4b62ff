"""PatchTST: its patches, that series do not see each other, what a shift of the window does, and that it learns."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.layers.transformer import BlockDesign
from zoo.losses import Quantile
from zoo.patch_tst import PatchTST, cut_patches
from zoo.task import Forecasting

WINDOW, HORIZON, SERIES = 12, 5, 2


def make_task(**arguments: Any) -> Forecasting:
    task = Forecasting(SERIES, HORIZON, **arguments)
    task.fit_targets(draw(50).flatten(0, 1)[:, :SERIES])
    return task


def draw(rows: int = 4, channels: int = 2) -> Tensor:
    """Windows in original units: two series of different scales, and a covariate around 0."""
    x = torch.randn(rows, WINDOW, channels, generator=torch.Generator().manual_seed(0))
    return x * torch.tensor([5.0, 0.5, 1.0])[:channels] + torch.tensor([40.0, -3.0, 0.0])[:channels]


def make(task: Forecasting | None = None, **arguments: Any) -> Any:
    torch.manual_seed(0)
    small = {"num_channels": 2, "window": WINDOW, "task": task or make_task(), "patch": 4, "stride": 2, "layers": 2}
    return PatchTST(**{**small, **arguments}).eval()


# Patches --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("window", "patches"), [(336, 42), (512, 64)])
def test_patch_counts_are_the_published_ones(window: int, patches: int) -> None:
    """PatchTST/42 and PatchTST/64 of Nie et al. 2023."""
    assert cut_patches(torch.zeros(3, window), 16, 8).shape == (3, patches, 16)
    assert PatchTST(7, window, Forecasting(7, 96)).encoder.context == patches


@pytest.mark.parametrize(("patch", "stride"), [(4, 2), (5, 3), (12, 12), (1, 1), (4, 4)])
def test_patches_by_hand(patch: int, stride: int) -> None:
    x = torch.randn(2, 3, WINDOW)
    padded = torch.cat([x, *[x[..., -1:]] * stride], 2)
    expected = [padded[..., first : first + patch] for first in range(0, WINDOW + stride - patch + 1, stride)]
    torch.testing.assert_close(cut_patches(x, patch, stride), torch.stack(expected, 2))


# Forecasts ------------------------------------------------------------------------------------------------------------


def test_a_forecast_by_hand() -> None:
    module, x = make(normalization="none"), draw()
    series = module.forecasting.standardize(x)
    for row in range(2):
        for k in range(SERIES):
            patches = cut_patches(series[row, :, k], 4, 2)
            said = module.encoder(module.embedding(patches)[None])[0]
            expected = F.linear(said.flatten(), module.head.weight, module.head.bias)
            torch.testing.assert_close(module(x)[row, :, k, 0], expected)


def test_series_share_weights_and_do_not_see_each_other() -> None:
    module = make(normalization="none", task=Forecasting(SERIES, HORIZON))
    x = draw()
    torch.testing.assert_close(module(x.flip(2)), module(x).flip(2))
    other = torch.stack([x[..., 0], torch.randn(4, WINDOW)], 2)
    torch.testing.assert_close(module(other)[:, :, 0], module(x)[:, :, 0])


@pytest.mark.parametrize("normalization", ["last", "revin"])
def test_a_shift_of_the_window_shifts_the_forecast(normalization: Any) -> None:
    module, x = make(normalization=normalization), draw()
    shift = torch.tensor([30.0, -2.0])
    moved = module.task.decode(module(x + shift)) - module.task.decode(module(x))
    torch.testing.assert_close(moved, shift.expand_as(moved), atol=2e-3, rtol=1e-4)


@pytest.mark.parametrize("loss", [None, Quantile([0.1, 0.5, 0.9])], ids=["mse", "quantiles"])
@pytest.mark.parametrize("block", [BlockDesign(), BlockDesign(norm_place="post", norm="rms")], ids=["pre", "post"])
def test_every_weight_is_trained(block: BlockDesign, loss: Any) -> None:
    module = make(make_task(loss=loss), block=block, num_channels=3).train()
    module.training_step(Batch(draw(channels=3), torch.randn(4, HORIZON, SERIES)), 0).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
    assert module(draw(channels=3)).shape == (4, HORIZON, SERIES, 1 if loss is None else 3)
    assert all(module.get_submodule(name) is layer for name, layer in module.branches.items())


def test_covariates_are_left_unread(capsys: pytest.CaptureFixture[str]) -> None:
    module, x = make(num_channels=3), draw(channels=3)
    assert "leaves 1 covariate channel(s) unread" in capsys.readouterr().out
    torch.testing.assert_close(module(x), module(torch.cat([x[..., :2], torch.randn(4, WINDOW, 1)], 2)))


@pytest.mark.parametrize(("patch", "stride"), [(13, 2), (4, 5), (4, 0)])
def test_patches_that_do_not_fit(patch: int, stride: int) -> None:
    with pytest.raises(ZooError, match=r"^PatchTST: stride must be at most patch, and patch at most the window of 12"):
        make(patch=patch, stride=stride)


def test_learns_a_wave() -> None:
    steps = torch.arange(400.0)
    wave = torch.stack([torch.sin(steps * 2 * torch.pi / 8), 3 * torch.cos(steps * 2 * torch.pi / 6)], 1)
    rows = wave.unfold(0, WINDOW + HORIZON, 3).transpose(1, 2)
    x, y = rows[:, :WINDOW], rows[:, WINDOW:]
    module = make(Forecasting(SERIES, HORIZON), dropout=0.0).train()
    optimizer = torch.optim.Adam(module.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        module.training_step(Batch(x, y), 0).backward()
        optimizer.step()
    assert module.last_loss < 0.02
