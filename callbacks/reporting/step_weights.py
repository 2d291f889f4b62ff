"""Which steps of a sequence a network's answer rests on: its attention, or the slope of the answer."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from callbacks.reporting.plots import Floats
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.kept import Kept, borrowed, validation_batches
from zoo.layers.padding import padding_mask
from zoo.layers.readout import AttentionReadout
from zoo.module import SupervisedModule
from zoo.task import Classification, Forecasting

_SAMPLES, _SHOWN, _PARTS = 128, 12, 20


class StepWeights(NamedTuple):
    """What ``plots.draw_weights`` draws: shares (n, T), names of the rows, the density over parts, and words."""

    weights: Floats
    labels: list[str]
    density: Floats
    title: str
    about: str


def saliency(module: SupervisedModule, batch: Batch, output: int) -> Tensor:
    """Share of each step in the sum of |d output / d x| over steps and channels, (B, T); 0 where padded.

    Source: Simonyan, Vedaldi and Zisserman, "Deep Inside Convolutional Networks: Visualising Image Classification
    Models and Saliency Maps", 2014, section 3; here summed over channels.

    Args:
        module: in evaluation mode.
        batch: x are floats (B, T, C).
        output: of a forecast the series, summed over the horizon; -1 is the class that is taken to be the likeliest, in
            log probability, or the sum of all values of a regression.
    """
    task = module.task
    # cuDNN's recurrent layers have a backward pass in training mode alone.
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
        x = batch.x.detach().clone().requires_grad_(True)
        said = task.decode(module.forward_batch(batch._replace(x=x)))
        if isinstance(task, Classification):
            score = said.amax(1).clamp(min=1e-12).log()
        else:
            score = said[..., output] if isinstance(task, Forecasting) else said
        (slope,) = torch.autograd.grad(score.sum(), x)
    size = slope.detach().abs().sum(2)
    if batch.lengths is not None:
        size = size.where(padding_mask(batch.lengths, size.shape[1]), 0)
    return size / size.sum(1, keepdim=True).clamp(min=1e-30)


@torch.no_grad()
def attention(module: SupervisedModule, batch: Batch) -> Tensor | None:
    """Weights of the steps in an attention readout, (B, T), 0 where padded; None where there is no such readout."""
    with _listened(module) as heard:
        module.forward_batch(batch)
    return heard[0] if heard else None


@contextmanager
def _listened(module: SupervisedModule) -> Iterator[list[Tensor]]:
    heard: list[Tensor] = []

    def hear(readout: AttentionReadout, inputs: tuple[Any, ...]) -> None:
        heard.append(readout.weights(*inputs))

    layers = [layer for layer in module.modules() if isinstance(layer, AttentionReadout)]
    handles = [layer.register_forward_pre_hook(hear) for layer in layers]
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()


def density(weights: Tensor, lengths: Tensor, parts: int = _PARTS) -> Tensor:
    """Mean share of equal parts of a sequence, times their number, (parts,): 1 where all steps count the same.

    A step that lies in several parts gives to each what of it lies there.

    Args:
        weights: (B, T), each row adding up to 1, on the CPU.
        lengths: steps of each row, (B,).
        parts: number of parts.
    """
    before = torch.cat([weights.new_zeros(len(weights), 1), weights.cumsum(1)], 1)  # (B, T + 1): share before a step
    edge = torch.linspace(0, 1, parts + 1, dtype=weights.dtype) * lengths[:, None]
    whole = edge.floor().long().clamp(max=weights.shape[1] - 1)
    reached = before.gather(1, whole)
    reached = reached + (edge - whole) * (before.gather(1, whole + 1) - reached)  # linear within a step
    return reached.diff(dim=1).mean(0) * parts


def step_weights(trainer: Trainer, module: SupervisedModule, kept: Kept, names: Sequence[str]) -> StepWeights:
    """What the first validation samples' answers rest on, with the weights that were kept; all is left as it was.

    Of a classification some sequences, evenly from the one whose true class got the lowest probability to that with the
    highest; of a regression the first ones; of forecasts each series, as a mean over windows.

    Args:
        names: of the classes, or of the series.

    Raises:
        ZooError: there is no validation sample.
    """
    task = module.task
    with borrowed(trainer, module):
        if kept.state is not None:
            module.load_state_dict(kept.state, strict=True)
        batch = next(validation_batches(trainer), None)
        if batch is None:
            raise ZooError("there are no validation samples")
        batch = Batch(*[part[:_SAMPLES] if isinstance(part, Tensor) else part for part in batch])
        lengths = batch.lengths if batch.lengths is not None else torch.full((batch.size,), batch.x.shape[1])
        lengths = lengths.to(batch.x.device)
        title, labels = "Saliency: steps whose change moves the answer most", [f"sample {k}" for k in range(_SHOWN)]
        if isinstance(task, Forecasting):
            shown = torch.stack([saliency(module, batch, series).mean(0) for series in range(len(names[:_SHOWN]))])
            shares, labels = shown.mean(0, keepdim=True), list(names[:_SHOWN])
            lengths, ends = lengths[:1], lengths[: len(shown)]
        else:
            attended = attention(module, batch)
            shares = saliency(module, batch, -1) if attended is None else attended
            title = title if attended is None else "Attention: the weights of the steps"
            rows = torch.arange(min(batch.size, _SHOWN), device=lengths.device)
            if isinstance(task, Classification):
                with torch.no_grad():
                    rows, labels = _from_worst_to_best(module, batch, names)
            shown, ends = shares[rows], lengths[rows]
    about = f"validation split · {batch.size} samples · {kept.about}"
    longest = int(ends.max())
    shown = shown[:, :longest].where(padding_mask(ends, longest), torch.nan)
    mean = density(shares.cpu().double(), lengths.cpu())
    return StepWeights(shown.float().cpu().numpy(), labels[: len(shown)], mean.numpy(), title, about)


def _from_worst_to_best(module: SupervisedModule, batch: Batch, names: Sequence[str]) -> tuple[Tensor, list[str]]:
    """Some rows, evenly spread over the probabilities of the true classes, and what was said of them."""
    said = module.task.decode(module.forward_batch(batch))
    true = batch.y.argmax(1) if batch.y.is_floating_point() else batch.y
    certainty = said.gather(1, true[:, None])[:, 0]
    order = certainty.argsort(stable=True)
    count = min(len(order), _SHOWN)
    rows = order[torch.linspace(0, len(order) - 1, count).round().long().to(order.device)]
    labels = []
    for row in rows.tolist():
        predicted = int(said[row].argmax())
        right = names[int(true[row])]
        labels.append(f"✓ {right}" if predicted == true[row] else f"✗ {names[predicted]}, true {right}")
    return rows, labels
