"""What a forecaster says of validation windows: a few of them whole, and the error of all of them step by step."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from lightning.pytorch import Trainer
from torch import Tensor

from callbacks.reporting.plots import Floats
from callbacks.reporting.sequence_plots import Forecasts, Window
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.kept import Kept, borrowed, validation_batches
from zoo.module import SupervisedModule
from zoo.task import Forecasting

_LEAST_PAST = 24  # steps of a window's past that are shown at least, where it has as many


@torch.no_grad()
def forecasts(trainer: Trainer, module: SupervisedModule, kept: Kept, max_samples: int) -> Forecasts:
    """Forecast validation windows with the weights that were kept, and leave everything as it was.

    Args:
        max_samples: windows to forecast, in whole batches that are spread evenly over the split.

    Raises:
        ZooError: there is no validation window.
    """
    task = module.task
    assert isinstance(task, Forecasting)
    totals: dict[str, Tensor] = {}
    errors, places, size = list[Tensor](), list[tuple[int, int]](), 0
    with borrowed(trainer, module), trainer.precision_plugin.val_step_context():
        if kept.state is not None:
            module.load_state_dict(kept.state, strict=True)
        for index, batch, wanted in _spread(trainer, max_samples):
            size += batch.size
            if not wanted:
                continue
            prediction = module.forward_batch(batch)
            guesses = {"network": task.decode(prediction)}
            guesses |= task.naive_forecasts(batch.x.float())
            squares = {
                name: (task.standardize(guess) - task.target(batch.y)).square() for name, guess in guesses.items()
            }
            if task.coverage is not None:
                low, high = task.interval(prediction, task.coverage)
                squares["inside"] = ((low <= batch.y) & (batch.y <= high)).float()
            for name, values in squares.items():
                totals[name] = totals.get(name, 0) + values.mean(2).sum(0).cpu().double()
            errors.append(squares["network"].mean((1, 2)).cpu())
            places += [(index, row) for row in range(batch.size)]
        if not places:
            raise ZooError("there are no validation windows")
        order = torch.cat(errors).argsort(stable=True, descending=True)
        chosen = {"worst": order[0], "median": order[len(order) // 2], "best": order[-1]}
        asked = {name: (*places[int(place)], float(torch.cat(errors)[place])) for name, place in chosen.items()}
        windows = _windows(trainer, module, asked)
    by_step = {name: (total / len(places)).numpy() for name, total in totals.items()}
    inside = by_step.pop("inside", None)
    count = f"{len(places):,} windows" if len(places) == size else f"{len(places):,} of {size:,} windows"
    share = f" (the share of 1 of {trainer.world_size} processes)" if trainer.world_size > 1 else ""
    about = f"validation split · {count}{share} · {kept.about}"
    return Forecasts(windows, by_step, inside, task.coverage, about)


def _spread(trainer: Trainer, max_samples: int) -> Iterator[tuple[int, Batch, bool]]:
    """The validation batches, numbered; of a large split every n-th is wanted."""
    limit, every, seen = trainer.num_val_batches[0], 1, 0
    for index, batch in enumerate(validation_batches(trainer)):
        if index == 0 and math.isfinite(limit):
            every = max(1, math.ceil(limit * batch.size / max_samples))
        wanted = index % every == 0 and seen < max_samples
        seen += batch.size if wanted else 0
        yield index, batch, wanted


def _windows(trainer: Trainer, module: SupervisedModule, asked: dict[str, tuple[int, int, float]]) -> list[Window]:
    """Forecast single windows again: by name, their batch, row and error. To keep all would take a split's memory."""
    task = module.task
    assert isinstance(task, Forecasting)
    found: dict[str, Window] = {}
    for index, batch in enumerate(validation_batches(trainer)):
        rows = {name: (row, error) for name, (place, row, error) in asked.items() if place == index}
        if not rows:
            continue
        prediction = module.forward_batch(batch)
        past = min(batch.x.shape[1], max(2 * task.horizon, _LEAST_PAST))
        parts = [batch.x[:, -past:, : task.num_targets], batch.y, task.decode(prediction)]
        if task.coverage is not None:
            parts += task.interval(prediction, task.coverage)
        for name, (row, error) in rows.items():
            values: list[Floats | None] = [np.asarray(part[row].float().cpu()) for part in parts]
            found[name] = Window(name, error, *[*values, None, None][:5])  # type: ignore[arg-type]
    return [found[name] for name in asked]
