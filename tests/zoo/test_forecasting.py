"""Forecasters: formulas against loops, what a shift of the window does, scheduled sampling, resume to the bit."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from datamodules.forecasting_csv import ForecastingCSV
from tests.tools import StopAt, Stopped, quiet_trainer
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.forecasting import DLinear, Forecaster, NLinear, SegRNN
from zoo.layers.revin import RevIN
from zoo.losses import Quantile, Tweedie
from zoo.recurrent_forecaster import RecurrentForecaster, teacher_forcing_probability
from zoo.task import Forecasting

WINDOW, HORIZON, SERIES = 12, 5, 2


def make_task(**arguments: Any) -> Forecasting:
    task = Forecasting(SERIES, HORIZON, **arguments)
    task.fit_targets(draw(50).flatten(0, 1)[:, :SERIES])
    return task


def draw(rows: int = 4, channels: int = 3) -> Tensor:
    """Windows in original units: two series of different scales, and covariates around 0."""
    x = torch.randn(rows, WINDOW, channels, generator=torch.Generator().manual_seed(0))
    return x * torch.tensor([5.0, 0.5, 1.0])[:channels] + torch.tensor([40.0, -3.0, 0.0])[:channels]


def make(kind: Any, task: Forecasting | None = None, **arguments: Any) -> Any:
    torch.manual_seed(0)
    small: dict[Any, dict[str, Any]] = {DLinear: {"kernel": 5}, SegRNN: {"segment": 4, "hidden": 8}}
    small[RecurrentForecaster] = {"hidden": 8}
    return kind(
        **{"num_channels": 3, "window": WINDOW, "task": task or make_task(), **small.get(kind, {}), **arguments}
    )


KINDS: list[tuple[Any, dict[str, Any]]] = [
    (DLinear, {}),
    (DLinear, {"individual": True, "normalization": "revin_affine"}),
    (NLinear, {}),
    (NLinear, {"individual": True}),
    (SegRNN, {}),
    (SegRNN, {"normalization": "revin"}),
    (RecurrentForecaster, {}),
    (RecurrentForecaster, {"decoder": "autoregressive", "cell": "lstm", "layers": 2}),
]


@pytest.mark.parametrize(("kind", "arguments"), KINDS)
@pytest.mark.parametrize("loss", [None, Quantile([0.1, 0.5, 0.9])])
def test_every_forecaster_trains_every_weight(kind: Any, arguments: dict[str, Any], loss: Any) -> None:
    module = make(kind, make_task(loss=loss), **arguments)
    y = torch.randn(4, HORIZON, SERIES)
    module.training_step(Batch(draw(), y), 0).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
    k = 1 if loss is None else 3
    assert module(draw()).shape == (4, HORIZON, SERIES, k)
    assert module.task.decode(module(draw())).shape == (4, HORIZON, SERIES)
    assert module(module.example_input_array).isfinite().all()


@pytest.mark.parametrize(("kind", "arguments"), [k for k in KINDS if k[0] is not RecurrentForecaster][1:])
@pytest.mark.parametrize("loss", [None, Quantile([0.1, 0.5, 0.9])])
def test_a_forecast_moves_with_its_window(kind: Any, arguments: dict[str, Any], loss: Any) -> None:
    module = make(kind, make_task(loss=loss), **arguments).eval()
    x, shift = draw(), torch.tensor([100.0, -20.0])
    moved = x.clone()
    moved[..., :SERIES] += shift
    task = module.task
    torch.testing.assert_close(task.decode(module(moved)), task.decode(module(x)) + shift, atol=1e-3, rtol=1e-4)
    if loss is not None:
        for end, other in zip(task.interval(module(moved), 0.8), task.interval(module(x), 0.8)):
            torch.testing.assert_close(end, other + shift, atol=1e-3, rtol=1e-4)


def standardized(x: Tensor) -> Tensor:
    series = x[..., :SERIES]
    rows = draw(50).flatten(0, 1)[:, :SERIES]
    return (series - rows.mean(0)) / rows.std(0, correction=0)


def test_dlinear_by_hand() -> None:
    module, x = make(DLinear, individual=True), draw()
    out = module(x)
    z = standardized(x)
    for row in range(4):
        for series in range(SERIES):
            values = z[row, :, series].tolist()
            trend = torch.tensor(
                [np.mean([values[min(max(t + d, 0), WINDOW - 1)] for d in (-2, -1, 0, 1, 2)]) for t in range(WINDOW)]
            ).float()
            season = z[row, :, series] - trend
            expected = F.linear(trend, module.trend.weight[series], module.trend.bias[series])
            expected = expected + F.linear(season, module.season.weight[series], module.season.bias[series])
            torch.testing.assert_close(out[row, :, series, 0], expected, atol=1e-5, rtol=1e-4)


def test_nlinear_by_hand() -> None:
    module, x = make(NLinear), draw()
    z = standardized(x)
    last = z[:, -1:]
    expected = torch.einsum("btc,ht->bhc", z - last, module.linear.weight[0]) + module.linear.bias[0][:, None] + last
    torch.testing.assert_close(module(x)[..., 0], expected, atol=1e-5, rtol=1e-4)


def test_segrnn_by_hand() -> None:
    module, x = make(SegRNN, dropout=0.0), draw()
    z = standardized(x)
    out = module(x)
    for row in range(4):
        for series in range(SERIES):
            last = z[row, -1, series]
            segments = (z[row, :, series] - last).view(3, 4)
            _, state = module.gru(F.relu(module.embedding(segments))[None])
            values = []
            for place in range(2):
                query = torch.cat([module.place_embedding[place], module.series_embedding[series]])
                step, _ = module.gru(query[None, None], state)
                values.append(module.head(step[0, 0]))
            expected = torch.cat(values)[:HORIZON] + last
            torch.testing.assert_close(out[row, :, series, 0], expected, atol=1e-5, rtol=1e-4)


def test_recurrent_decoder_by_hand() -> None:
    module, x = make(RecurrentForecaster, decoder="autoregressive").eval(), draw()
    z = standardized(x)
    last = z[:, -1:]
    _, state = module.encoder.layers[0].forwards(torch.cat([z - last, x[..., SERIES:]], 2))
    value, expected = torch.zeros_like(last), []
    for _ in range(HORIZON):
        step, state = module.decoder.layers[0].forwards(value, state)
        value = module.head(step)
        expected.append(value + last)
    torch.testing.assert_close(module(x)[..., 0], torch.cat(expected, 1), atol=1e-5, rtol=1e-4)


def test_revin_turns_round_and_leaves_mean_0_and_deviation_1() -> None:
    layer, x = RevIN(3), draw()
    statistics = layer.statistics(x)
    z = layer.normalize(x, statistics)
    torch.testing.assert_close(z.mean(1), torch.zeros(4, 3), atol=1e-4, rtol=0)
    torch.testing.assert_close(z.std(1, correction=0), torch.ones(4, 3), atol=1e-3, rtol=0)
    with torch.no_grad():
        layer.gamma.copy_(torch.tensor([2.0, -1.0, 0.5]))  # type: ignore[union-attr]
        layer.beta.copy_(torch.tensor([1.0, 0.0, -2.0]))  # type: ignore[union-attr]
    torch.testing.assert_close(layer.denormalize(layer.normalize(x, statistics), statistics), x, atol=1e-4, rtol=1e-5)
    assert RevIN(3, affine=False).normalize(x[:, :1], layer.statistics(x[:, :1])).isfinite().all()


# Scheduled sampling ---------------------------------------------------------------------------------------------------


def test_probabilities_of_teacher_forcing() -> None:
    assert [teacher_forcing_probability("linear", step, 100) for step in (0, 25, 100, 900)] == [1, 0.75, 0, 0]
    k = 25.0
    steps = k * math.log(k)
    for step in (0, 10, 80, 200):
        expected = k / (k + math.exp(step / k))
        assert teacher_forcing_probability("inverse_sigmoid", step, steps) == pytest.approx(expected, rel=1e-6)
    assert teacher_forcing_probability("inverse_sigmoid", 500, 500) == pytest.approx(0.5)
    assert teacher_forcing_probability("inverse_sigmoid", 10**9, 6) < 1e-9
    assert teacher_forcing_probability("always", 10**9, 6) == 1
    assert teacher_forcing_probability("never", 0, 6) == 0


def test_forced_in_one_call_equals_forced_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    module = make(RecurrentForecaster, decoder="autoregressive", teacher_forcing="always")
    batch = Batch(draw(), draw(4, 2)[:, :HORIZON])
    fused = module.forward_batch(batch)
    almost = "zoo.recurrent_forecaster.teacher_forcing_probability"
    monkeypatch.setattr(almost, lambda *arguments: 1 - 1e-12)  # torch.rand lies below it, always
    torch.testing.assert_close(module.forward_batch(batch), fused)
    assert not torch.allclose(module.eval().forward_batch(batch)[:, 1:], fused[:, 1:])


def test_own_values_are_fed_in_training_where_none_are_forced() -> None:
    module = make(RecurrentForecaster, decoder="autoregressive", teacher_forcing="never")
    batch = Batch(draw(), draw(4, 2)[:, :HORIZON])
    torch.testing.assert_close(module.forward_batch(batch), module(batch.x))


# Whole runs -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two waves of 12 steps with noise, one on a rising level."""
    file = tmp_path_factory.mktemp("series") / "series.csv"
    t = np.arange(500)
    noise = np.random.default_rng(0).normal(size=(500, 2)) * 0.1
    wave = np.stack([np.sin(2 * np.pi * t / 12), 3 * np.cos(2 * np.pi * t / 12) + 0.01 * t], 1) + noise
    file.write_text("a,b\n" + "\n".join(f"{a:.5f},{b:.5f}" for a, b in wave) + "\n")
    return file


def fit(module: Forecaster, file: Path, *callbacks: Any, ckpt: Path | None = None, epochs: int = 2) -> Any:
    data = ForecastingCSV(str(file), ["a", "b"], window=24, horizon=6, batch_size=32)
    module.optimizer_factories["network"] = lambda network: torch.optim.Adam(network.parameters(), lr=0.01)
    trainer = quiet_trainer(callbacks=list(callbacks), max_epochs=epochs)
    trainer.fit(module, datamodule=data, ckpt_path=ckpt, weights_only=True if ckpt else None)
    return trainer


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (DLinear, {}),
        (NLinear, {}),
        (SegRNN, {"hidden": 32, "dropout": 0.0}),
        (RecurrentForecaster, {"hidden": 32, "normalization": "none"}),
    ],
)
def test_it_beats_the_last_season(series: Path, kind: Any, arguments: dict[str, Any]) -> None:
    module = make(kind, Forecasting(2, 6, season=12), num_channels=2, window=24, **arguments)
    trainer = fit(module, series, epochs=12)
    data = trainer.datamodule
    naive = module.task.naive(data.train_targets, [Batch(x, y) for x, y, _ in data.val_dataloader()])
    assert trainer.callback_metrics["val/mse"].item() < naive["last season"]["mse"] < naive["last value"]["mse"]


@pytest.mark.parametrize("teacher_forcing", ["linear", "inverse_sigmoid"])
def test_scheduled_sampling_resumes_to_the_bit(series: Path, tmp_path: Path, teacher_forcing: Any) -> None:
    def run(*callbacks: Any, ckpt: Path | None = None) -> tuple[Forecaster, Any]:
        arguments: dict[str, Any] = {"decoder": "autoregressive", "teacher_forcing": teacher_forcing, "decay_steps": 20}
        task = Forecasting(2, 6)
        module = make(RecurrentForecaster, task, num_channels=2, window=24, dropout=0.1, **arguments)
        return module, fit(module, series, *callbacks, ckpt=ckpt)

    whole, trainer = run()
    with pytest.raises(Stopped):
        run(StopAt(tmp_path / "cut.ckpt", 1, 2))
    resumed, other = run(ckpt=tmp_path / "cut.ckpt")
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name
    assert trainer.callback_metrics["val/mse"] == other.callback_metrics["val/mse"]


# Errors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (SegRNN, {"segment": 24}, "a window of 12 steps is not made of whole segments of 24"),
        (SegRNN, {"segment": 5}, "a window of 12 steps is not made of whole segments of 5"),
        (SegRNN, {"hidden": 7}, "hidden must be even and at least 2, got 7"),
        (SegRNN, {"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1.0"),
        (DLinear, {"kernel": 4}, "kernel must be odd and at least 1, got 4"),
        (DLinear, {"window": 0}, "window must be at least 1 step, got 0"),
        (NLinear, {"num_channels": 1}, r"2 series to forecast, but windows of 1 channel\(s\)"),
        (RecurrentForecaster, {"decay_steps": 2}, r"decay_steps must be at least 2 e \(5.4\), got 2"),
        (NLinear, {"task": Forecasting(2, 3, Tweedie())}, "has a meaning under Tweedie; use normalization=none"),
        (NLinear, {"task": Forecasting(2, 3, season=24)}, "a season of 24 steps does not fit into a window of 12"),
    ],
)
def test_arguments_that_make_no_forecaster(kind: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ZooError, match=message):
        make(kind, **arguments)


def test_windows_of_another_length_are_refused() -> None:
    with pytest.raises(ZooError, match="DLinear was built for windows of 12 steps, got 9"):
        make(DLinear)(draw()[:, :9])


def test_covariates_that_are_not_read_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    make(DLinear)
    assert "leaves 1 covariate channel(s) unread" in "".join(capsys.readouterr())
    module, x = make(SegRNN).eval(), draw()
    other = x.clone()
    other[..., SERIES:] += 9
    assert torch.equal(module(x), module(other))
    reading = make(RecurrentForecaster).eval()
    assert not torch.equal(reading(x), reading(other))
