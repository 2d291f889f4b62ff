"""Sequence-length warm-up: short sequences first, whole ones at the end."""

from torch import Tensor

from callbacks.sampling.sequences import CarriesState, first_steps
from callbacks.technique import Technique, UnsupportedModule
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.module import SupervisedModule, ZooModule
from zoo.task import Classification, LanguageModeling, MultiLabel, Regression, Tagging


def length_at(progress: float, full: int, start: float, until: float, multiple: int = 1) -> int:
    """Steps of a sequence at a point of the run: linear from ``start * full`` to ``full``, in whole multiples.

    s(t) = full (start + (1 - start) min(t / until, 1)), rounded to the nearest multiple, at least one multiple and at
    most ``full``.

    Args:
        progress: t, the share of the run that is done, in [0, 1].
        full: T, steps of the batch as the data have it.
        start: share of T at the beginning, in (0, 1].
        until: progress at which sequences are whole, in (0, 1].
        multiple: lengths are multiples of it, so that few of them occur.
    """
    if progress >= until or start == 1:
        return full
    length = full * (start + (1 - start) * progress / until)
    return min(max(round(length / multiple), 1) * multiple, full)


class SequenceLengthWarmup(Technique):
    """Train on the beginnings of sequences early in the run, longer and longer ones, and on whole ones at its end.

    Li, Zhang and He, "The stability-efficiency dilemma: investigating sequence length warmup for training GPT models",
    2022; Press, Smith and Lewis, "Shortformer: better language modeling using shorter inputs", 2021. Evaluation sees
    whole sequences. Not for models that carry their state from batch to batch, for which what is cut away would be a
    gap in the text, nor for forecasters, which are built for windows of one length.

    Args:
        start: share of the steps of each batch at the beginning, in (0, 1]; 1 changes nothing.
        until: share of the run after which sequences are whole, in (0, 1].
        multiple: lengths are multiples of this many steps.

    Raises:
        ZooError: a number out of range; in a fit, a run without an end.
        UnsupportedModule: in a fit, for a stateful model, or inputs that are no sequences.
        NoEffect: in a fit, when no batch gets shorter.
    """

    supports = SupervisedModule
    inputs = ("sequences", "tokens")
    tasks = (Classification, LanguageModeling, MultiLabel, Regression, Tagging)

    def __init__(self, start: float = 0.25, until: float = 0.5, multiple: int = 8) -> None:
        if not 0 < start <= 1 or not 0 < until <= 1:
            raise ZooError(f"SequenceLengthWarmup: start and until are shares in (0, 1], got {start} and {until}")
        if multiple < 1:
            raise ZooError(f"SequenceLengthWarmup: multiple must be at least 1 step, got {multiple}")
        self.start, self.until, self.multiple = start, until, multiple

    def attach(self, module: ZooModule) -> None:
        if isinstance(module, CarriesState) and module.stateful:
            raise UnsupportedModule(
                "SequenceLengthWarmup cuts batches short, and a stateful model would go on behind the gap; use"
                " --model.stateful false with --data.mode shuffle, or drop SequenceLengthWarmup"
            )
        self.add_batch_transform(module, self.transform)

    def transform(self, module: ZooModule, batch: Batch) -> Batch:
        """The batch with sequences as long as this point of the run allows."""
        x = batch.x
        if not isinstance(x, Tensor) or x.ndim != (3 if x.is_floating_point() else 2):
            kind = f"{x.dtype} of shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            raise UnsupportedModule(
                f"SequenceLengthWarmup needs sequences, floats (B, T, C) or tokens (B, T), got {kind}; drop it"
            )
        total = float(module.trainer.estimated_stepping_batches)
        if total == float("inf"):
            raise ZooError("SequenceLengthWarmup has to know the length of the run; set max_epochs or max_steps")
        full = x.shape[1]
        if self.length(0.0, full) < full:
            self.acted()  # also for a run that is taken up when sequences are whole again
        steps = self.length(module.trainer.global_step / total, full)
        return batch if steps == full else first_steps(batch, steps)

    def length(self, progress: float, full: int) -> int:
        """See ``length_at``."""
        return length_at(progress, full, self.start, self.until, self.multiple)

    def no_effect_hint(self) -> str:
        return f"start is {self.start} and multiple is {self.multiple}: no sequence became shorter; lower both"
