"""Window slicing: train on a random stretch of each sequence."""

import torch
from torch import Tensor

from callbacks.augmentation.series import lengths_of, require_series, resample_batch
from callbacks.technique import Technique
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.module import SupervisedModule, ZooModule
from zoo.task import Classification, MultiLabel, Regression, Tagging


def slice_windows(batch: Batch, start: Tensor, kept: Tensor, steps: int) -> Batch:
    """Steps start ... start + kept - 1 of each sequence, as a shorter sequence.

    Args:
        batch: x floats (B, T, C).
        start, kept: int64 (B,), with start + kept at most the sequence's length.
        steps: of the new batch, at least the largest ``kept``.
    """
    place = start.unsqueeze(1) + torch.arange(steps, device=start.device).float()
    lengths = kept if batch.lengths is not None else None  # without lengths all are equally long, before and after
    return resample_batch(batch, place, kept)._replace(lengths=lengths)


def stretch_windows(batch: Batch, start: Tensor, kept: Tensor, lengths: Tensor) -> Batch:
    """The same steps, stretched to the sequence's own length: step t is read at start + t (kept - 1) / (L - 1)."""
    rate = (kept - 1) / (lengths - 1).clamp(min=1)
    place = start.unsqueeze(1) + torch.arange(batch.x.shape[1], device=start.device) * rate.unsqueeze(1)
    return resample_batch(batch, place, lengths)


class WindowSlicing(Technique):
    """Replace each training sequence by a random stretch of it, shorter or stretched to the old length.

    Le Guennec, Malinowski and Tavenard, "Data augmentation for time series classification using convolutional neural
    networks", 2016. Values between two steps lie on the straight line, tags are those of the nearest step.

    Args:
        ratio: share of each sequence that is kept, in (0, 1]; at least two steps are. 1 changes nothing, far below 0.5
            what tells the classes apart may be cut away.
        stretch: bring the stretch back to the sequence's length; otherwise sequences get shorter.
    """

    supports = SupervisedModule
    inputs = ("sequences",)
    # Not what is forecast, which would no longer follow on the inputs.
    tasks = (Classification, MultiLabel, Regression, Tagging)

    def __init__(self, ratio: float = 0.9, stretch: bool = True) -> None:
        if not 0 < ratio <= 1:
            raise ZooError(f"WindowSlicing: ratio is a share in (0, 1], got {ratio}; 0.7 to 0.95 are usual")
        self.ratio, self.stretch = ratio, stretch

    def attach(self, module: ZooModule) -> None:
        self.add_batch_transform(module, self.transform)

    def transform(self, module: ZooModule, batch: Batch) -> Batch:
        """The batch with stretches of its sequences."""
        if self.ratio == 1:
            return batch
        x = require_series(self.name, batch)
        lengths = lengths_of(batch)
        kept = self._kept(lengths)
        start = (torch.rand(len(x), device=x.device) * (lengths - kept + 1)).long()
        if self.stretch:
            return stretch_windows(batch, start, kept, lengths)
        # The share of the longest possible sequence bounds all others: no need to ask the device for its lengths.
        steps = int(self._kept(torch.tensor(x.shape[1])))
        return slice_windows(batch, start, kept, steps)

    def _kept(self, lengths: Tensor) -> Tensor:
        return (self.ratio * lengths).ceil().long().clamp(min=2).minimum(lengths)

    def no_effect_hint(self) -> str:
        return f"ratio is {self.ratio}; it has to be below 1"
