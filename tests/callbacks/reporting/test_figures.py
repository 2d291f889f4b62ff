"""Figures: they show the right numbers of the right weights, leave the run alone, and never end it."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from numpy.typing import NDArray
from PIL import Image
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix as sklearn_confusion_matrix

from callbacks.reporting import plots
from callbacks.reporting.checkpoint import Checkpoint
from callbacks.reporting.figures import Evaluation, Figures, best_epoch, evaluate, kept_weights, read_curves
from callbacks.reporting.metrics_csv import MetricsCSV
from callbacks.reporting.plots import Curve
from callbacks.reporting.wandb import WandbRun
from datamodules.augment import RandomCrop
from datamodules.base import TensorSplit, ZooDataModule
from datamodules.diabetes import Diabetes
from datamodules.digits import Digits
from datamodules.wine import Wine
from tests.tools import quiet_trainer
from zoo.errors import ZooError
from zoo.mlp import MLP
from zoo.task import Classification, Regression

PLACES = ["learning_curves", "confusion_matrix", "predictions"]


class Recorder(MetricsCSV):
    """A logger that takes pictures, and keeps them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.images: dict[str, NDArray[np.uint8]] = {}

    def log_image(self, key: str, images: list[Any]) -> None:
        (self.images[key],) = images


class Spoil(Callback):
    """The weights at the end are not those that were kept."""

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, MLP)
        with torch.no_grad():
            pl_module.head.weight.zero_()


class Probe(Callback):
    """Look at the predictions as Figures sees them."""

    seen: Evaluation

    def __init__(self, max_samples: int = 10_000) -> None:
        self.max_samples = max_samples

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, MLP)
        self.seen = evaluate(trainer, pl_module, kept_weights(trainer), self.max_samples)


class Witness(Callback):
    """What a run looks like when training ends."""

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.stage = trainer.state.stage
        self.flags = [module.training for module in pl_module.modules()]
        self.weights = {name: value.clone() for name, value in pl_module.state_dict().items()}
        self.generator = torch.get_rng_state()
        self.gradients = torch.is_grad_enabled()


def network(data: ZooDataModule, classes: int | None, dropout: float = 0.0) -> MLP:
    task = Regression(1) if classes is None else Classification(classes)
    return MLP(data.in_features, task, hidden=[32], dropout=dropout)


def fit(folder: Path, data: ZooDataModule, module: MLP, *callbacks: Callback, epochs: int = 3, **more: Any) -> Trainer:
    checkpoint = Checkpoint(folder / "checkpoints", f"val/{module.task.monitor}", module.task.mode)
    settings = {"logger": [MetricsCSV(folder)], "enable_checkpointing": True, **more}
    trainer = quiet_trainer(folder, max_epochs=epochs, callbacks=[*callbacks, checkpoint], **settings)
    trainer.fit(module, datamodule=data)
    return trainer


def pixels(folder: Path, name: str) -> NDArray[np.uint8]:
    return np.asarray(Image.open(folder / "figures" / f"{name}.png"))


def best_score(trainer: Trainer) -> float:
    keeper = trainer.checkpoint_callback
    assert isinstance(keeper, Checkpoint)
    assert keeper.best_model_score is not None
    return float(keeper.best_model_score)


def val_split(data: ZooDataModule) -> TensorSplit:
    split = data.splits["val"]
    assert isinstance(split, TensorSplit)
    return split


# The numbers ---------------------------------------------------------------------------------------------------------


def test_confusion_matrix_equals_scikit_learn() -> None:
    random = np.random.default_rng(0)
    true, predicted = random.integers(0, 6, 500), random.integers(0, 5, 500)  # class 5 is never predicted
    ours = plots.confusion_matrix(true, predicted, 7)  # class 6 has no sample
    assert np.array_equal(ours, sklearn_confusion_matrix(true, predicted, labels=range(7)))


def test_calibration_bins_equal_scikit_learn() -> None:
    random = np.random.default_rng(0)
    confidence = random.uniform(0.3, 1, 400)
    correct = random.uniform(size=400) < confidence
    bins = plots.calibration_bins(confidence, correct)
    share, mean = calibration_curve(correct, confidence, n_bins=15)
    assert np.allclose(bins.accuracy, share)
    assert np.allclose(bins.confidence, mean)
    assert bins.samples.sum() == 400
    assert plots.calibration_bins(np.ones(3), np.ones(3, bool)).samples.tolist() == [3]


def test_curves_of_a_resumed_run(tmp_path: Path) -> None:
    first = MetricsCSV(tmp_path)
    for epoch, loss in enumerate([4.0, 3.0, 2.5]):
        first.log_metrics({"lr-AdamW": 0.1 * (epoch + 1)}, 10 * epoch + 4)
        first.log_metrics({"train/loss_step": 9.0}, 10 * epoch + 5)
        first.log_metrics({"epoch": epoch, "train/loss": loss}, 10 * epoch + 9)
        first.log_metrics({"epoch": epoch, "val/accuracy": 0.1 * epoch}, 10 * epoch + 9)
    again = MetricsCSV(tmp_path)  # the checkpoint was that of the second epoch, step 20
    again.log_metrics({"train/loss_step": 8.0}, 20)
    again.log_metrics({"epoch": 2, "train/loss": 2.0, "val/f1": 0.7}, 29)
    again.log_metrics({"epoch": 3, "train/loss": 1.0}, 39)

    curves = read_curves(tmp_path / "metrics.csv")

    assert curves["train/loss"].epochs.tolist() == [1, 2, 3, 4]
    assert curves["train/loss"].values.tolist() == [4, 3, 2, 1]
    assert curves["val/accuracy"].epochs.tolist() == [1, 2]
    assert curves["val/f1"].epochs.tolist() == [3]
    assert np.allclose(curves["lr-AdamW"].epochs, [0.5, 1.5])  # step 4 is the fifth of ten
    assert "train/loss_step" not in curves


def test_curves_say_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match=r"no .*metrics\.csv; give the Trainer the logger MetricsCSV"):
        read_curves(tmp_path / "metrics.csv")
    MetricsCSV(tmp_path).log_metrics({"train/loss_step": 1.0}, 0)
    with pytest.raises(ZooError, match="no row of a whole epoch"):
        read_curves(tmp_path / "metrics.csv")


def test_best_epoch_is_the_last_of_equals_and_never_nan() -> None:
    curve = Curve(np.arange(1.0, 6), np.array([0.5, 0.9, 0.9, math.nan, 0.2]))
    assert best_epoch(curve, "max") == 3
    assert best_epoch(curve, "min") == 5


# The drawings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 13, 100])
def test_confusion_matrix_shows_every_count(size: int) -> None:
    random = np.random.default_rng(0)
    matrix = random.integers(1, 4, (size, size)) * (random.random((size, size)) < 0.05) + 5 * np.eye(size, dtype=int)
    figure = plots.draw_confusion_matrix(matrix, [f"class ${i}" for i in range(size)], "validation split")
    shown = np.zeros_like(matrix)
    for text in figure.axes[0].texts:
        j, i = text.get_position()
        shown[int(i), int(j)] = int(text.get_text())
    assert np.array_equal(shown, matrix)
    image = plots.render(figure)
    assert image.dtype == np.uint8
    assert image.shape[2:] == (3,)
    assert max(image.shape) < 4000
    assert len(np.unique(image)) > 10


def test_a_class_without_samples_has_no_colour() -> None:
    figure = plots.draw_confusion_matrix(np.array([[3, 1], [0, 0]]), ["a", "b"], "")
    share = figure.axes[0].images[0].get_array()
    assert share is not None
    assert share.tolist() == [[0.75, 0.25], [0, 0]]


def test_drawing_leaves_matplotlib_alone() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    curves = {"train/loss": Curve(np.arange(1.0, 3), np.array([1.0, 0.01])), "lr": Curve(np.ones(1), np.ones(1))}
    image = plots.render(plots.draw_learning_curves(curves, ["loss"], None))
    assert image.std() > 1
    assert dict(matplotlib.rcParams) == before


# A whole run ---------------------------------------------------------------------------------------------------------


def test_classification_of_images(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    board = TensorBoardLogger(tmp_path / "board")
    pytest.importorskip("tensorboard")
    data = Digits()
    fit(tmp_path, data, network(data, 10), Figures(tmp_path), logger=[recorder, board])

    assert sorted(file.stem for file in (tmp_path / "figures").iterdir()) == sorted(PLACES)
    for name in PLACES:
        written = pixels(tmp_path, name)
        assert written.dtype == np.uint8
        assert written.std() > 1
        assert np.array_equal(recorder.images[f"figures/{name}"], written)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(board.log_dir, {"images": 0}).Reload()
    assert sorted(events.Tags()["images"]) == sorted(f"figures/{name}" for name in PLACES)


def test_the_run_is_not_disturbed(tmp_path: Path) -> None:
    data = Digits(augment=[RandomCrop(1)])
    before, after = Witness(), Witness()
    module = network(data, 10, dropout=0.2)
    trainer = fit(tmp_path, data, module, Spoil(), before, Figures(tmp_path), after)

    assert (tmp_path / "figures" / "predictions.png").is_file()
    assert after.stage == before.stage
    assert after.gradients
    assert after.flags == before.flags
    assert all(before.flags)
    assert torch.equal(before.generator, after.generator)
    assert before.weights.keys() == after.weights.keys()
    assert all(torch.equal(before.weights[name], after.weights[name]) for name in before.weights)
    assert trainer.state.finished


def test_they_show_the_best_weights_on_validation_images_as_they_are(tmp_path: Path) -> None:
    data = Digits(augment=[RandomCrop(2)])
    probe = Probe()
    module = network(data, 10)
    trainer = fit(tmp_path, data, module, Spoil(), probe)
    seen, split = probe.seen, val_split(data)
    state = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    module.load_state_dict(state)
    with torch.no_grad():
        expected = module.eval()(data.transform_batch(split.x)).softmax(1)

    assert torch.allclose(seen.prediction, expected, atol=1e-6)
    assert torch.equal(seen.y, split.y)
    accuracy = (seen.prediction.argmax(1) == seen.y).float().mean()
    assert float(accuracy) == pytest.approx(best_score(trainer))
    # The most wrong first, each with its own picture.
    true = expected.gather(1, split.y[:, None])[:, 0]
    assert torch.allclose(true[seen.worst], true.sort().values[:24], atol=1e-6)
    assert seen.images is not None
    assert np.array_equal(seen.images[..., 0], split.x[seen.worst][:, 0].numpy())
    assert seen.about == f"validation split · {len(split)} samples · weights of epoch 3 (the best)"


def test_without_a_checkpoint_they_show_the_weights_at_the_end(tmp_path: Path) -> None:
    data, probe = Digits(), Probe()
    trainer = quiet_trainer(tmp_path, callbacks=[Spoil(), probe])
    trainer.fit(network(data, 10), datamodule=data)
    assert probe.seen.about.endswith("weights at the end")
    assert torch.allclose(probe.seen.prediction, probe.seen.prediction[:1])  # the spoilt head sees no difference


def test_a_large_split_is_sampled_evenly(tmp_path: Path) -> None:
    data, probe = Digits(eval_batch_size=20), Probe(max_samples=50)
    fit(tmp_path, data, network(data, 10), probe, epochs=1)
    y = val_split(data).y  # eight batches, of which every fourth leaves 40 samples and every third 60
    assert torch.equal(probe.seen.y, torch.cat([y[0:20], y[80:100]]))
    assert f"40 of {len(y)} samples" in probe.seen.about


def test_regression_in_original_units(tmp_path: Path) -> None:
    data, probe = Diabetes(), Probe()
    trainer = fit(tmp_path, data, network(data, None), probe, Figures(tmp_path))
    rmse = (probe.seen.prediction[:, 0] - probe.seen.y).square().mean().sqrt()
    assert float(rmse) == pytest.approx(best_score(trainer), rel=1e-5)
    assert sorted(file.stem for file in (tmp_path / "figures").iterdir()) == ["learning_curves", "residuals"]
    assert pixels(tmp_path, "residuals").std() > 1


def test_classification_of_vectors_gets_a_calibration_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[plots.Bins, float]] = []

    def draw(bins: plots.Bins, error: float, about: str) -> Any:
        drawn.append((bins, error))
        return original(bins, error, about)

    original = plots.draw_calibration
    monkeypatch.setattr(plots, "draw_calibration", draw)
    data = Wine()
    trainer = fit(tmp_path, data, network(data, 3), Figures(tmp_path), epochs=1)
    ((bins, error),) = drawn
    assert error == pytest.approx(float(trainer.callback_metrics["val/calibration_error"]))
    assert bins.samples.sum() == len(val_split(data))
    assert pixels(tmp_path, "predictions").std() > 1


def test_a_failing_figure_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> None:
        raise RuntimeError("no ink\nleft")

    monkeypatch.setattr(plots, "draw_confusion_matrix", fail)
    data = Digits()
    with pytest.warns(UserWarning, match=r"Figures: confusion_matrix\.png failed \(RuntimeError: no ink left\)"):
        trainer = fit(tmp_path, data, network(data, 10), Figures(tmp_path), epochs=1)
    assert trainer.state.finished
    assert sorted(file.stem for file in (tmp_path / "figures").iterdir()) == ["learning_curves", "predictions"]


def test_a_damaged_checkpoint_is_a_warning(tmp_path: Path) -> None:
    class Damage(Callback):
        def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            (tmp_path / "checkpoints" / "best.ckpt").write_bytes(b"nothing")

    data = Digits()
    with pytest.warns(UserWarning, match=r"Figures: reading the best checkpoint failed \(ResumeError: .*best\.ckpt"):
        trainer = fit(tmp_path, data, network(data, 10), Damage(), Figures(tmp_path), epochs=1)
    assert trainer.state.finished
    assert len(list((tmp_path / "figures").iterdir())) == 3


def test_wandb_gets_each_picture_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    monkeypatch.setattr(WandbRun, "log_image", lambda self, key, images: sent.append(key))
    for name in ("log_metrics", "log_hyperparams", "save"):  # nothing that would start a run
        monkeypatch.setattr(WandbRun, name, lambda self, *args, **kwargs: None)
    inside, outside = tmp_path / "run", tmp_path / "other"
    monkeypatch.setenv("ZOO_RUN_DIR", str(inside))  # there the logger collects the files itself
    loggers = [WandbRun(project="zoo", save_dir=str(tmp_path)), MetricsCSV(inside), MetricsCSV(outside)]
    data = Wine()
    fit(tmp_path, data, network(data, 3), Figures(inside), Figures(outside), epochs=1, logger=loggers)
    assert len(list((inside / "figures").iterdir())) == 3
    assert sent == [f"figures/{name}" for name in PLACES]


def test_a_trial_run_draws_nothing(tmp_path: Path) -> None:
    data = Digits()
    trainer = quiet_trainer(tmp_path, fast_dev_run=True, callbacks=[Figures(tmp_path)])
    trainer.fit(network(data, 10), datamodule=data)
    assert not (tmp_path / "figures").exists()
