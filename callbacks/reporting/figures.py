"""What a run looks like: its learning curves, its mistakes and its predictions, drawn when a fit ends."""

import csv
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities import CombinedLoader, rank_zero_warn
from numpy.typing import NDArray
from PIL.Image import fromarray
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

from callbacks.reporting import plots, sequence_plots
from callbacks.reporting.forecast_figures import forecasts
from callbacks.reporting.plots import Curve
from callbacks.reporting.step_weights import step_weights
from callbacks.reporting.wandb import WandbRun
from zoo.batch import as_batch
from zoo.errors import ZooError
from zoo.kept import Kept, borrowed, kept_weights
from zoo.module import SupervisedModule
from zoo.task import Classification, Forecasting, Regression

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_IMAGES, _MAX_QUANTITIES = 24, 6


@runtime_checkable
class NamesClasses(Protocol):
    """Data that say what their classes are called, in the order of the labels."""

    classes: Sequence[str]


@runtime_checkable
class NamesTargets(Protocol):
    """Data that say what the values to predict are called."""

    targets: Sequence[str]


@runtime_checkable
class TakesImages(Protocol):
    """A logger with Lightning's method for pictures, as the one of Weights & Biases has it."""

    def log_image(self, key: str, images: list[Any]) -> None: ...


class Evaluation(NamedTuple):
    """What a network says about N samples of the validation split, on the CPU."""

    y: Tensor  # labels (N,) or values (N,) or (N, T)
    prediction: Tensor  # class probabilities (N, C) or values (N, T), in original units
    worst: Tensor  # the samples whose true class got the lowest probability, lowest first, (n,)
    images: NDArray[np.uint8] | None  # of those, (n, H, W, 3); None when the inputs are not images
    lengths: Tensor | None  # steps of each sequence (N,); None when all are equally long, or no sequences
    about: str  # which samples and which weights


class Figures(Callback):
    """Draws ``figures/*.png`` when a fit ends, and hands them to the loggers that take pictures.

    ``learning_curves.png`` always; ``confusion_matrix.png`` and ``predictions.png`` (images, or a calibration plot
    where inputs are vectors) for classification; ``residuals.png`` for regression; ``forecasts.png`` and
    ``horizon_error.png`` for forecasts. Of sequences ``accuracy_by_length.png`` where they differ in length, and
    ``step_weights.png``: which steps answers rest on. They show the weights that were kept as best, or those at the end
    when nothing was kept. Only the first process draws; it sees its own share of the validation split, and every figure
    says how many samples that were. Module, trainer and random generators are left as they were. A figure that cannot
    be drawn is a warning, never the end of a run.

    Args:
        folder: the run's folder, with ``metrics.csv`` in it.
        max_samples: validation samples to predict, in whole batches that are spread evenly over the split.
    """

    def __init__(self, folder: str | Path, max_samples: int = 10_000) -> None:
        if max_samples < 1:
            raise ZooError(f"Figures: max_samples must be at least 1, got {max_samples}")
        self.folder, self.max_samples = Path(folder), max_samples

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Here, for in on_fit_end the module has left its device.
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        kept = Kept()
        with warns("reading the best checkpoint"):
            kept = kept_weights(trainer)
        self._draw(trainer, "learning_curves", lambda: _learning_curves(pl_module, self.folder, kept))
        if not isinstance(pl_module, SupervisedModule) or trainer.val_dataloaders is None:
            return
        if pl_module.device_mesh is not None:
            return  # weights that no process has whole: one process alone would wait for the others
        data, task = trainer.datamodule, pl_module.task  # type: ignore[attr-defined]
        stated = data.classes if isinstance(data, NamesClasses) else ()
        if isinstance(task, Forecasting):
            self._forecasts(trainer, pl_module, kept)
        elif isinstance(task, Classification | Regression):
            with warns("predicting the validation split"):
                seen = evaluate(trainer, pl_module, kept, self.max_samples)
                if isinstance(task, Classification):
                    names = _names(stated, task.num_classes)
                    self._draw(trainer, "confusion_matrix", lambda: _confusion_matrix(seen, names))
                    self._draw(trainer, "predictions", lambda: _predictions(seen, names))
                    if seen.lengths is not None:
                        self._draw(trainer, "accuracy_by_length", lambda: _accuracy_by_length(seen))
                else:
                    names = _names(data.targets if isinstance(data, NamesTargets) else (), task.num_targets, "value ")
                    true, said = seen.y.reshape(seen.prediction.shape).numpy(), seen.prediction.numpy()
                    self._draw(trainer, "residuals", lambda: plots.draw_residuals(true, said, names, seen.about))
                if "sequences" in pl_module.takes:
                    self._draw_weights(trainer, pl_module, kept, names)

    def _forecasts(self, trainer: Trainer, module: SupervisedModule, kept: Kept) -> None:
        data, task = trainer.datamodule, module.task  # type: ignore[attr-defined]
        assert isinstance(task, Forecasting)
        names = _names(data.targets if isinstance(data, NamesTargets) else (), task.num_targets, "series ")
        with warns("forecasting the validation split"):
            seen = forecasts(trainer, module, kept, self.max_samples)
            gap = getattr(data, "gap", 0)
            self._draw(trainer, "forecasts", lambda: sequence_plots.draw_forecasts(seen, names, gap))
            self._draw(trainer, "horizon_error", lambda: sequence_plots.draw_horizon_error(seen))
            self._draw_weights(trainer, module, kept, names)

    def _draw_weights(self, trainer: Trainer, module: SupervisedModule, kept: Kept, names: Sequence[str]) -> None:
        self._draw(
            trainer, "step_weights", lambda: sequence_plots.draw_weights(*step_weights(trainer, module, kept, names))
        )

    def _draw(self, trainer: Trainer, name: str, draw: "Callable[[], Figure]") -> None:
        with warns(f"{name}.png"):
            keep_picture(trainer, self.folder, name, plots.render(draw()))


def keep_picture(trainer: Trainer, folder: Path, name: str, pixels: NDArray[np.uint8]) -> None:
    """Write ``figures/<name>.png``, uint8 (H, W, 3), in a run's folder, and hand it to the loggers of pictures."""
    file = folder / "figures" / f"{name}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    fromarray(pixels).save(file)
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(f"figures/{name}", pixels, trainer.global_step, dataformats="HWC")
        elif isinstance(logger, TakesImages) and not _sends(logger, file):
            logger.log_image(f"figures/{name}", [pixels])


def evaluate(trainer: Trainer, module: SupervisedModule, kept: Kept, max_samples: int) -> Evaluation:
    """Predict validation samples with the weights that were kept, and leave everything as it was.

    Raises:
        ZooError: the weights are spread over processes, or there is no validation sample.
    """
    if not isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy):
        raise ZooError(f"{type(trainer.strategy).__name__} spreads the weights over processes; use zoo predict instead")
    limit = trainer.num_val_batches[0]
    loader = CombinedLoader(trainer.val_dataloaders).flattened[0]
    ys, predictions, size, seen, every = list[Tensor](), list[Tensor](), 0, 0, 1
    lengths = list[Tensor]()
    images, worst, certainty = torch.empty(0), torch.empty(0, dtype=torch.long), torch.empty(0)
    with torch.no_grad(), borrowed(trainer, module), trainer.precision_plugin.val_step_context():
        if kept.state is not None:
            module.load_state_dict(kept.state, strict=True)
        for index, raw in enumerate(islice(loader, int(limit) if math.isfinite(limit) else None)):
            size += as_batch(raw).size
            if index == 0 and math.isfinite(limit):
                every = max(1, math.ceil(limit * size / max_samples))
            if index % every != 0 or seen >= max_samples:
                continue
            batch = as_batch(trainer.strategy.batch_to_device(trainer.precision_plugin.convert_input(raw)))
            prediction = module.task.decode(module.forward_batch(batch)).float().cpu()
            y = batch.y.cpu()
            if isinstance(module.task, Classification):
                y = y.argmax(1) if y.is_floating_point() else y
                pixels = as_bytes(as_batch(raw).x)
                if pixels is not None:
                    certainty = torch.cat([certainty, prediction.gather(1, y[:, None])[:, 0]])
                    worst = torch.cat([worst, torch.arange(seen, seen + len(y))])
                    images = torch.cat([images, pixels]) if len(images) else pixels
                    first = certainty.argsort(stable=True)[:_IMAGES]
                    certainty, worst, images = certainty[first], worst[first], images[first]
            ys.append(y)
            if batch.lengths is not None:
                lengths.append(batch.lengths.cpu())
            predictions.append(prediction.reshape(len(y), -1))
            seen += len(y)
    if not seen:
        raise ZooError("there are no validation samples")
    count = f"{seen:,} samples" if seen == size else f"{seen:,} of {size:,} samples"
    share = f" (the share of 1 of {trainer.world_size} processes)" if trainer.world_size > 1 else ""
    shown = images.permute(0, 2, 3, 1).expand(-1, -1, -1, 3).numpy() if len(images) else None
    about = f"validation split · {count}{share} · {kept.about}"
    steps = torch.cat(lengths) if lengths else None
    return Evaluation(torch.cat(ys), torch.cat(predictions), worst, shown, steps, about)


def read_curves(file: Path) -> dict[str, Curve]:
    """Everything in a ``metrics.csv`` that was logged once an epoch, and the learning rates, over epochs.

    An epoch that was logged again, as after a resume, counts as it was logged last. Rows that name only their step
    are placed between the ends of the epochs.

    Raises:
        ZooError: there is no such file, or nothing was logged at the end of an epoch.
    """
    if not file.is_file():
        raise ZooError(f"no {file}; give the Trainer the logger MetricsCSV({str(file.parent)!r})")
    with file.open(newline="") as text:
        rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(text)]
    ends = {0.0: -1.0} | {row["epoch"] + 1: row["step"] for row in rows if "epoch" in row}
    if len(ends) == 1:
        raise ZooError(f"{file} holds no row of a whole epoch")
    points: dict[str, dict[float, float]] = {}
    for row in rows:
        for name in row.keys() - {"epoch", "step"}:
            if "epoch" in row:
                points.setdefault(name, {})[row["epoch"] + 1] = row[name]
            elif plots.is_learning_rate(name):
                points.setdefault(name, {})[float(np.interp(row["step"], [*ends.values()], [*ends]))] = row[name]
    return {name: Curve(*np.array(sorted(points[name].items())).T) for name in sorted(points)}


def best_epoch(curve: Curve, mode: str) -> float:
    """The epoch with the best value, by "min" or "max"; of equals the last, which is the one that a run keeps."""
    values = np.where(np.isfinite(curve.values), curve.values if mode == "min" else -curve.values, np.inf)
    return float(curve.epochs[np.flatnonzero(values == values.min())[-1]])


def _learning_curves(module: LightningModule, folder: Path, kept: Kept) -> "Figure":
    curves = read_curves(folder / "metrics.csv")
    logged = dict.fromkeys(name.split("/", 1)[1] for name in curves if name.startswith(("train/", "val/")))
    quantities = [name for name in logged if not plots.is_learning_rate(name)][:_MAX_QUANTITIES]
    best: float | None = kept.epoch
    if isinstance(module, SupervisedModule):
        monitor = module.task.monitor
        quantities = [name for name in ("loss", monitor) if name in logged]
        if best is None and f"val/{monitor}" in curves:
            best = best_epoch(curves[f"val/{monitor}"], module.task.mode)
    return plots.draw_learning_curves(curves, quantities, best)


def _confusion_matrix(seen: Evaluation, classes: list[str]) -> "Figure":
    matrix = plots.confusion_matrix(seen.y.numpy(), seen.prediction.argmax(1).numpy(), len(classes))
    return plots.draw_confusion_matrix(matrix, classes, seen.about)


def _accuracy_by_length(seen: Evaluation) -> "Figure":
    assert seen.lengths is not None
    correct = (seen.prediction.argmax(1) == seen.y).numpy()
    groups = sequence_plots.length_groups(seen.lengths.numpy(), correct)
    return sequence_plots.draw_length_accuracy(groups, seen.about)


def _predictions(seen: Evaluation, classes: list[str]) -> "Figure":
    y, probabilities = seen.y, seen.prediction
    if seen.images is not None:
        about = f"{seen.about} · {len(seen.worst)} shown"
        true, shown = y[seen.worst].numpy(), probabilities[seen.worst].numpy()
        return plots.draw_image_grid(seen.images, true, shown, classes, about)
    confidence, predicted = probabilities.max(1)
    error = multiclass_calibration_error(probabilities, y, len(classes))  # as the task logs it
    bins = plots.calibration_bins(confidence.numpy(), (predicted == y).numpy())
    return plots.draw_calibration(bins, float(error), seen.about)


@contextmanager
def warns(what: str) -> Iterator[None]:
    """Turn any failure into one line that names the figure: the run itself went well."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        rank_zero_warn(f"Figures: {what} failed ({type(error).__name__}: {reason}); the run itself is complete")


def as_bytes(x: Any) -> Tensor | None:
    """Images of a batch as bytes, uint8 (B, 1 or 3, H, W), as the loader yields them; None for other inputs."""
    if not isinstance(x, Tensor) or x.ndim != 4 or x.shape[1] not in (1, 3):
        return None
    if x.dtype == torch.uint8:
        return x
    x = x.float()  # normalised by nobody knows what: each image gets the full range
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    return (255 * (x - low) / (high - low).clamp(min=1e-12)).round().to(torch.uint8)


def _names(stated: Sequence[str], count: int, word: str = "") -> list[str]:
    return list(stated) if len(stated) == count else [f"{word}{k}" for k in range(count)]


def _sends(logger: TakesImages, file: Path) -> bool:
    """Whether the logger sends the pictures of the run's folder itself when the run has ended."""
    run = os.environ.get("ZOO_RUN_DIR")
    return isinstance(logger, WandbRun) and run is not None and file.resolve().is_relative_to(Path(run).resolve())
