"""What a trained network says, in the words of its data: class names and probabilities, values in original units."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias, cast

import torch
from torch import Tensor

from zoo.task import LanguageModeling, MultiLabel, Task
from zoo.tasks.class_labels import ClassLabels
from zoo.tasks.real_values import RealValues


class Labels(NamedTuple):
    """Classes.

    Attributes:
        labels: for each sample its class; a list of classes where a sample may have several, or one at every step.
        probabilities: (N, classes); (N, T, classes) of steps, NaN behind a sequence's end.
        classes: what the columns of ``probabilities`` are called.
    """

    labels: list[Any]
    probabilities: Tensor
    classes: tuple[str, ...]


class Values(NamedTuple):
    """Real values in original units.

    Attributes:
        values: (N, targets), or (N, horizon, targets) of forecasts.
        targets: what the last dimension is called.
        lower, upper: ends of the interval that holds ``coverage`` of all targets, like ``values``; None where the
            network's loss gives none.
        coverage: in (0, 1), or None.
    """

    values: Tensor
    targets: tuple[str, ...]
    lower: Tensor | None = None
    upper: Tensor | None = None
    coverage: float | None = None


Prediction: TypeAlias = Labels | Values


def prediction(task: Task, raw: Tensor, outputs: Sequence[str], lengths: Tensor | None = None) -> Prediction:
    """The raw prediction (N, ...) of a network in words; of a language model that for the token behind each text.

    Args:
        task: what the network was asked.
        raw: as ``forward_batch`` gives it.
        outputs: names of classes or targets; numbers where there are none.
        lengths: int64 (N,), of padded inputs.
    """
    if isinstance(task, LanguageModeling) and lengths is not None:
        raw = raw[torch.arange(len(raw)), lengths - 1][:, None]
    decoded = task.decode(raw)
    if isinstance(task, RealValues):
        names = _names(outputs, task.num_targets)
        if task.coverage is None:
            return Values(decoded, names)
        return Values(decoded, names, *task.interval(raw, task.coverage), task.coverage)
    names = _names(outputs, decoded.shape[-1])
    if isinstance(task, LanguageModeling):
        decoded = decoded[:, 0]
    elif task.per_step and lengths is not None:
        ends = [names_of(row[:n], names) for row, n in zip(decoded, lengths.tolist())]
        behind = torch.arange(decoded.shape[1]) >= lengths[:, None]
        return Labels(ends, decoded.masked_fill(behind[..., None], torch.nan), names)
    if isinstance(task, MultiLabel):
        present = [[names[k] for k in row.nonzero().flatten().tolist()] for row in decoded > task.threshold]
        return Labels(present, decoded, names)
    assert isinstance(task, ClassLabels)
    return Labels(names_of(decoded, names), decoded, names)


def on_cpu(said: Prediction) -> Prediction:
    """The same with its tensors on the CPU."""
    parts: dict[str, Any] = {name: part.cpu() for name, part in said._asdict().items() if isinstance(part, Tensor)}
    return said._replace(**parts)


def names_of(probabilities: Tensor, names: Sequence[str]) -> list[Any]:
    """The name of the likeliest class of each row (..., classes), in lists like the leading dimensions."""
    return cast("list[Any]", _named(probabilities.argmax(-1).tolist(), names))


def _named(index: Any, names: Sequence[str]) -> Any:
    return [_named(one, names) for one in index] if isinstance(index, list) else names[index]


def _names(outputs: Sequence[str], count: int) -> tuple[str, ...]:
    return tuple(outputs) if len(outputs) == count else tuple(str(number) for number in range(count))
