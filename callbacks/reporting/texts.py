"""What a language model writes: a few short texts after each validation, from the same beginnings every time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from callbacks.reporting.figures import warns
from zoo.errors import ZooError
from zoo.kept import validation_batches
from zoo.randomness import key, run_seed


@runtime_checkable
class Writes(Protocol):
    """A model that goes on with texts (B, T) by so many tokens, drawn at a temperature."""

    def generate(self, prompt: Tensor, steps: int, temperature: float = 1.0) -> Tensor: ...


class Decodes(Protocol):
    """What turns token numbers (N,) into text."""

    def decode(self, tokens: Tensor) -> str: ...


@runtime_checkable
class HasVocabulary(Protocol):
    """Data that know what their tokens mean; those of others are written as numbers."""

    vocabulary: Decodes


@runtime_checkable
class TakesTexts(Protocol):
    """A logger with Lightning's method for texts, as the one of Weights & Biases has it."""

    def log_text(self, key: str, columns: list[str], data: list[list[str]]) -> None: ...


class Texts(Callback):
    """Writes ``texts/epoch_0001.txt`` after each validation, and hands the texts to the loggers that take texts.

    A text goes on from the first tokens of a row of the first validation batch. The noise is the same each time, so
    that what differs is the model; the run's own random numbers stay as they are. Only the first process writes, and
    none where the weights are spread over processes. A text that cannot be written is a warning, never the end of a
    run.

    Args:
        folder: the run's folder.
        num: texts.
        length: tokens that are written, 50 to 500.
        prompt: tokens of the validation text to begin with, at least 1.
        temperature: the logits are divided by it; below 1 sticks to the likely, 0 takes the likeliest token each time.
        every_n_epochs: write after each n-th epoch, and after the last.
    """

    def __init__(
        self,
        folder: str | Path,
        num: int = 3,
        length: int = 200,
        prompt: int = 16,
        temperature: float = 0.8,
        every_n_epochs: int = 1,
    ) -> None:
        for name, value in (("num", num), ("length", length), ("prompt", prompt), ("every_n_epochs", every_n_epochs)):
            if value < 1:
                raise ZooError(f"Texts: {name} must be at least 1, got {value}")
        if temperature < 0:
            raise ZooError(f"Texts: temperature must be at least 0, got {temperature}")
        self.folder, self.num, self.length, self.prompt = Path(folder), num, length, prompt
        self.temperature, self.every_n_epochs = temperature, every_n_epochs

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        due = epoch % self.every_n_epochs == 0 or epoch == trainer.max_epochs
        trial = trainer.sanity_checking or trainer.fast_dev_run  # type: ignore[attr-defined]
        if pl_module.device_mesh is not None:
            return  # weights that no process has whole: one process alone would wait for the others
        if trial or not due or trainer.state.fn != TrainerFn.FITTING or not trainer.is_global_zero:
            return
        if not isinstance(pl_module, Writes):
            raise ZooError(
                f"Texts shows what a language model writes, and {type(pl_module).__name__} writes none; drop it"
            )
        with warns(f"the texts of epoch {epoch}"):
            self._keep(trainer, epoch, self._write(trainer, pl_module))

    def _write(self, trainer: Trainer, module: Writes) -> list[tuple[str, str]]:
        """Each text as its beginning, which was given, and its continuation."""
        batch = next(validation_batches(trainer), None)
        if batch is None:
            raise ZooError("there are no validation tokens")
        prompts, device = batch.x[: self.num, : self.prompt], trainer.strategy.root_device
        with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.no_grad():
            torch.manual_seed(key(run_seed(), "texts"))
            tokens = module.generate(prompts, self.length, self.temperature).cpu()
        data = trainer.datamodule  # type: ignore[attr-defined]
        decode = data.vocabulary.decode if isinstance(data, HasVocabulary) else _numbers
        size = prompts.shape[1]
        return [(decode(row[:size]), decode(row[size:])) for row in tokens]

    def _keep(self, trainer: Trainer, epoch: int, texts: Sequence[tuple[str, str]]) -> None:
        file = self.folder / "texts" / f"epoch_{epoch:04d}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        parts = [f"--- given: {begin!r}\n{begin}{rest}\n" for begin, rest in texts]
        file.write_text("\n".join(parts), encoding="utf-8", errors="backslashreplace")
        for logger in trainer.loggers:
            _log(logger, texts, trainer.global_step)


def _numbers(tokens: Tensor) -> str:
    return "".join(f"{token} " for token in tokens.tolist())


def _log(logger: Logger, texts: Sequence[tuple[str, str]], step: int) -> None:
    if isinstance(logger, TensorBoardLogger):
        # Markdown shows lines as they are where they are indented.
        shown = ["    " + f"[{begin}]{rest}".replace("\n", "\n    ") for begin, rest in texts]
        logger.experiment.add_text("texts", "\n\n---\n\n".join(shown), step)
    elif isinstance(logger, TakesTexts):
        logger.log_text("texts", ["given", "written"], [list(pair) for pair in texts])
