"""Figures of sequences and forecasts: their numbers against hand counts, and one tiny real run of each kind."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image
from torch import Tensor

from callbacks.reporting import sequence_plots
from callbacks.reporting.checkpoint import Checkpoint
from callbacks.reporting.figures import Figures
from callbacks.reporting.forecast_figures import forecasts
from callbacks.reporting.metrics_csv import MetricsCSV
from callbacks.reporting.sequence_plots import Forecasts, LengthGroups, Window, length_groups
from callbacks.reporting.step_weights import attention, density, saliency, step_weights
from datamodules.forecasting_csv import ForecastingCSV
from datamodules.japanese_vowels import JapaneseVowels
from tests.tools import quiet_trainer
from zoo.batch import Batch
from zoo.forecasting import NLinear
from zoo.kept import Kept, kept_weights
from zoo.losses import Quantile
from zoo.module import SupervisedModule
from zoo.recurrent_forecaster import RecurrentForecaster
from zoo.rnn import RNN
from zoo.task import Classification, Forecasting, Regression
from zoo.tasks.forecasting import naive_forecasts

WINDOW, HORIZON = 14, 4


class Recorder(MetricsCSV):
    """A logger that takes pictures."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.images: dict[str, Any] = {}

    def log_image(self, key: str, images: list[Any]) -> None:
        (self.images[key],) = images


class Look(Callback):
    """Calls a function when training ends, and notes whether the run was left as it was."""

    found: Any = None

    def __init__(self, function: Any) -> None:
        self.function = function

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        before = {name: value.clone() for name, value in pl_module.state_dict().items()}
        flags, generator = [m.training for m in pl_module.modules()], torch.get_rng_state()
        hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in pl_module.modules())
        self.found = self.function(trainer, pl_module)
        assert all(torch.equal(before[name], value) for name, value in pl_module.state_dict().items())
        assert flags == [m.training for m in pl_module.modules()]
        assert torch.equal(generator, torch.get_rng_state())
        assert hooks == sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in pl_module.modules())
        assert all(p.grad is None or not p.grad.any() for p in pl_module.parameters())


def fit(folder: Path, data: Any, module: SupervisedModule, *callbacks: Callback, **settings: Any) -> Trainer:
    checkpoint = Checkpoint(folder / "checkpoints", f"val/{module.task.monitor}", module.task.mode)
    settings = {"logger": [Recorder(folder)], "enable_checkpointing": True, "max_epochs": 2, **settings}
    trainer = quiet_trainer(folder, callbacks=[*callbacks, checkpoint], **settings)
    trainer.fit(module, datamodule=data)
    return trainer


def shop(folder: Path, **options: Any) -> ForecastingCSV:
    rows = np.random.default_rng(0).normal(size=(400, 2)) + 4 * np.sin(np.arange(400) * 2 * np.pi / 7)[:, None]
    lines = ["sales,visits", *[f"{a:.4f},{10 * b:.4f}" for a, b in rows]]
    (folder / "shop.csv").write_text("\n".join(lines) + "\n")
    options = {"targets": ["sales", "visits"], "window": WINDOW, "horizon": HORIZON, "eval_batch_size": 7, **options}
    return ForecastingCSV(str(folder / "shop.csv"), **options)


def quantiles() -> Forecasting:
    return Forecasting(2, HORIZON, Quantile([0.05, 0.5, 0.95]), season=7)


def names(folder: Path) -> list[str]:
    return sorted(file.stem for file in (folder / "figures").iterdir())


def shows_something(folder: Path, recorder: Recorder) -> None:
    for name in names(folder):
        pixels = np.asarray(Image.open(folder / "figures" / f"{name}.png"))
        assert pixels.dtype == np.uint8
        assert pixels.std() > 5, name
        assert np.array_equal(recorder.images[f"figures/{name}"], pixels)


# Accuracy by length --------------------------------------------------------------------------------------------------


def test_few_lengths_are_groups_of_their_own() -> None:
    lengths, correct = np.array([3, 5, 3, 9, 5, 5]), np.array([True, True, False, False, True, False])
    groups = length_groups(lengths, correct)
    assert groups.shortest.tolist() == groups.longest.tolist() == [3, 5, 9]
    assert groups.samples.tolist() == [2, 3, 1]
    assert groups.accuracy.tolist() == [1 / 2, 2 / 3, 0]


@pytest.mark.parametrize("seed", range(5))
def test_groups_of_many_lengths_hold_every_sequence_once(seed: int) -> None:
    random = np.random.default_rng(seed)
    lengths, correct = random.geometric(0.03, 500), random.random(500) < 0.7
    groups = length_groups(lengths, correct, most=6)
    assert 2 <= len(groups.samples) <= 6
    assert groups.samples.sum() == 500
    assert (groups.shortest[1:] > groups.longest[:-1]).all()
    assert groups.samples.max() < 2 * 500 / 6
    for low, high, samples, accuracy in zip(*groups, strict=True):
        own = [bool(c) for n, c in zip(lengths.tolist(), correct.tolist()) if low <= n <= high]
        assert (len(own), sum(own) / len(own)) == (samples, pytest.approx(accuracy))


def test_accuracy_by_length_of_a_run_equals_a_hand_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[LengthGroups] = []
    draw = sequence_plots.draw_length_accuracy
    monkeypatch.setattr(sequence_plots, "draw_length_accuracy", lambda g, about: drawn.append(g) or draw(g, about))
    data, module, recorder = JapaneseVowels(eval_batch_size=10), RNN(12, Classification(9), 16), Recorder(tmp_path)
    fit(tmp_path, data, module, Figures(tmp_path), logger=[recorder])
    assert names(tmp_path) == ["accuracy_by_length", "confusion_matrix", "learning_curves", "predictions",
                               "step_weights"]  # fmt: skip
    shows_something(tmp_path, recorder)

    module.load_state_dict(torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"])
    module.eval()
    split, right = data.splits["val"], dict[int, list[bool]]()
    for index in range(len(split)):  # type: ignore[arg-type]
        x, y, _, _ = split[torch.tensor([index])]
        right.setdefault(x.shape[1], []).append(bool(module(x).argmax() == y))  # alone it has no padding
    (groups,) = drawn
    assert groups.samples.sum() == len(split)  # type: ignore[arg-type]
    for low, high, samples, accuracy in zip(*groups, strict=True):
        own = [hit for length, hits in right.items() if low <= length <= high for hit in hits]
        assert (len(own), sum(own) / len(own)) == (samples, pytest.approx(accuracy))


# Forecasts -----------------------------------------------------------------------------------------------------------


def test_forecasts_equal_a_loop(tmp_path: Path) -> None:
    data, module = shop(tmp_path), RecurrentForecaster(2, WINDOW, quantiles(), hidden=8, dropout=0.3)
    look = Look(lambda trainer, module: forecasts(trainer, module, kept_weights(trainer), 10_000))
    trainer = fit(tmp_path, data, module, look)
    seen: Forecasts = look.found
    module.load_state_dict(torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"])
    task = module.eval().task
    assert isinstance(task, Forecasting)
    split = data.splits["val"]
    x, y, _ = split[torch.arange(len(split))]  # type: ignore[arg-type]
    with torch.no_grad():
        prediction = module(x)
    low, high = task.interval(prediction, 0.9)
    squares = ((task.decode(prediction) - y) / task.std).square()
    assert np.allclose(seen.by_step["network"], squares.mean((0, 2)), rtol=1e-5)
    season = naive_forecasts(x, HORIZON, 2, 7)["last season"]
    assert np.allclose(seen.by_step["last season"], ((season - y) / task.std).square().mean((0, 2)), rtol=1e-5)
    assert list(seen.by_step) == ["network", "last value", "last season"]
    assert seen.inside is not None
    assert torch.allclose(torch.tensor(seen.inside), ((low <= y) & (y <= high)).double().mean((0, 2)))
    keeper = trainer.checkpoint_callback
    assert isinstance(keeper, Checkpoint)
    assert float(seen.by_step["network"].mean()) == pytest.approx(float(keeper.best_model_score or 0), rel=1e-5)

    errors = squares.mean((1, 2))
    order = errors.argsort(descending=True)
    for window, place in zip(seen.windows, (order[0], order[len(order) // 2], order[-1]), strict=True):
        assert window.error == pytest.approx(float(errors[place]), rel=1e-5)
        assert np.allclose(window.past, x[place])
        assert np.allclose(window.truth, y[place])
        assert np.allclose(window.forecast, task.decode(prediction)[place], rtol=1e-5)
        assert window.low is not None
        assert np.allclose(window.low, low[place], rtol=1e-5)
    assert [window.name for window in seen.windows] == ["worst", "median", "best"]
    assert seen.about == f"validation split · {len(y)} windows · {kept_weights(trainer).about}"


def test_a_large_split_is_sampled_evenly(tmp_path: Path) -> None:
    data, module = shop(tmp_path), NLinear(2, WINDOW, Forecasting(2, HORIZON))
    look = Look(lambda trainer, module: forecasts(trainer, module, Kept(), 20))
    fit(tmp_path, data, module, look)  # 37 windows in six batches of 7, of which every third is taken
    assert look.found.about == "validation split · 14 of 37 windows · weights at the end"
    assert look.found.inside is None
    assert look.found.windows[0].low is None


@pytest.mark.parametrize("task", [quantiles(), Forecasting(2, HORIZON)], ids=["intervals", "points"])
def test_figures_of_forecasts(tmp_path: Path, task: Forecasting) -> None:
    recorder = Recorder(tmp_path)
    fit(tmp_path, shop(tmp_path), NLinear(2, WINDOW, task), Figures(tmp_path), logger=[recorder])
    assert names(tmp_path) == ["forecasts", "horizon_error", "learning_curves", "step_weights"]
    shows_something(tmp_path, recorder)


def test_what_is_drawn_is_what_was_forecast() -> None:
    past, truth, said = (np.arange(float(n))[:, None] for n in (6, 3, 3))
    windows = [Window(name, 1.0, past, truth, said + 5, said + 4, said + 6) for name in ("worst", "median", "best")]
    seen = Forecasts(windows, {"network": np.array([1.0, 2.0, 3.0])}, np.array([0.8, 0.9, 1.0]), 0.9, "about")
    figure = sequence_plots.draw_forecasts(seen, ["a $name"], gap=2)
    lines = {str(line.get_label()): line for line in figure.axes[0].lines}
    assert lines["past"].get_xdata().tolist() == [-5, -4, -3, -2, -1, 0]  # type: ignore[union-attr]
    assert lines["forecast"].get_xdata().tolist() == [3, 4, 5]  # type: ignore[union-attr]
    assert lines["forecast"].get_ydata().tolist() == [5, 6, 7]  # type: ignore[union-attr]
    assert len(figure.axes) == 3
    curve = sequence_plots.draw_horizon_error(seen).axes
    assert [str(line.get_label()) for line in curve[0].lines] == ["network, 2"]
    assert curve[1].lines[1].get_ydata().tolist() == [0.8, 0.9, 1.0]  # type: ignore[union-attr]


# Which steps count ---------------------------------------------------------------------------------------------------


class Linear(RNN):
    """Its answer is a weighted sum of steps, so that slopes are known."""

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        return (x * torch.tensor([1.0, -3.0, 0.0, 6.0])[: x.shape[1], None]).sum((1, 2))[:, None]


def test_saliency_of_a_sum_is_its_weights() -> None:
    module = Linear(2, Regression(1), 4).eval()
    shares = saliency(module, Batch(torch.randn(3, 4, 2), lengths=torch.tensor([4, 4, 2])), -1)
    torch.testing.assert_close(shares, torch.tensor([[0.1, 0.3, 0, 0.6], [0.1, 0.3, 0, 0.6], [0.25, 0.75, 0, 0]]))


def test_attention_is_that_of_the_readout() -> None:
    module = RNN(3, Classification(2), 4, readout="attention").eval()
    batch = Batch(torch.randn(5, 6, 3), lengths=torch.tensor([6, 1, 3, 2, 6]))
    weights = attention(module, batch)
    assert weights is not None
    with torch.no_grad():
        outputs, _ = module.encoder(batch.x, batch.lengths)
        torch.testing.assert_close(weights, module.readout.weights(outputs, batch.lengths))  # type: ignore[union-attr, operator]
    assert attention(RNN(3, Classification(2), 4).eval(), batch) is None


def test_density_is_flat_where_all_steps_count_the_same() -> None:
    lengths = torch.tensor([3, 7, 40])
    weights = (torch.arange(40) < lengths[:, None]) / lengths[:, None].double()
    torch.testing.assert_close(density(weights, lengths, 20), torch.ones(20).double())
    first = torch.zeros(1, 10).double()
    first[0, 0] = 1
    torch.testing.assert_close(density(first, torch.tensor([10]), 5), torch.tensor([5.0, 0, 0, 0, 0]).double())
    assert float(density(torch.rand(9, 13).double().softmax(1), torch.full((9,), 13)).mean()) == pytest.approx(1)


def test_rows_stand_from_worst_to_best(tmp_path: Path) -> None:
    data, module = JapaneseVowels(), RNN(12, Classification(9), 8, readout="attention", dropout=0.2)
    classes = [f"class {k}" for k in range(9)]
    look = Look(lambda trainer, module: step_weights(trainer, module, Kept(), classes))
    fit(tmp_path, data, module, look, max_epochs=1)
    seen, split = look.found, data.splits["val"]
    x, y, lengths, _ = split[torch.arange(len(split))]  # type: ignore[arg-type]
    with torch.no_grad():
        said = module.eval()(x, lengths).softmax(1)
        order = said.gather(1, y[:, None])[:, 0].argsort(stable=True)
        weights = attention(module, Batch(x, lengths=lengths))
    assert weights is not None
    for row, sample in ((0, order[0]), (11, order[-1])):
        length = int(lengths[sample])
        torch.testing.assert_close(torch.tensor(seen.weights[row, :length]), weights[sample, :length])
        assert np.isnan(seen.weights[row, length:]).all()
        mark = "✓" if said[sample].argmax() == y[sample] else "✗"
        assert seen.labels[row].startswith(f"{mark} class {int(said[sample].argmax())}")
    assert len(seen.labels) == len(seen.weights) == 12
    assert seen.title.startswith("Attention")


def test_a_run_with_figures_is_the_same(tmp_path: Path) -> None:
    ends = []
    for place, callbacks in enumerate(([], [Figures(tmp_path / "1")])):
        torch.manual_seed(0)
        module = RNN(12, Classification(9), 8, dropout=0.2)
        fit(tmp_path / str(place), JapaneseVowels(), module, *callbacks, max_epochs=1)
        ends.append(module.state_dict())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
