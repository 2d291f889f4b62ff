"""What a translator writes: a few sentences after each validation of a fit; in a test all of them, judged by BLEU."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch.distributed
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from callbacks.reporting.figures import warns
from callbacks.reporting.texts import Decodes, TakesTexts
from zoo.batch import Batch, as_batch
from zoo.errors import ZooError
from zoo.kept import validation_batches
from zoo.notice import notice


@runtime_checkable
class Translates(Protocol):
    """A model that translates sources (B, S) of so many tokens (B,), following so many beginnings."""

    def translate(
        self, source: Tensor, lengths: Tensor | None = None, beam: int = 1, length_penalty: float = 0.6
    ) -> Tensor: ...


@runtime_checkable
class HasPairs(Protocol):
    """Data that know the texts of each split in their order, sources and targets, and what their tokens mean."""

    texts: dict[str, tuple[list[str], list[str]]]
    vocabulary: Decodes


class Bleu(NamedTuple):
    """A score in 0..100, and in the form of sacrebleu what it was measured with."""

    score: float
    signature: str


def bleu(said: Sequence[str], references: Sequence[str]) -> Bleu:
    """Corpus BLEU of whole texts, by sacrebleu's own tokens, so that scores of different models can be compared.

    Papineni et al., "BLEU: a method for automatic evaluation of machine translation", 2002; Post, "A call for clarity
    in reporting BLEU scores", 2018.

    Raises:
        ImportError: sacrebleu is not there.
    """
    from sacrebleu.metrics.bleu import BLEU

    metric = BLEU()
    score = float(metric.corpus_score(list(said), [list(references)]).score)
    return Bleu(score, str(metric.get_signature()))


class Translations(Callback):
    """Writes ``texts/epoch_0001.txt`` after each validation, and measures BLEU in ``zoo test`` and ``zoo validate``.

    The texts are the first rows of the validation split, translated greedily; loggers that take texts get them too. A
    measured split is translated as a whole by a beam, its BLEU logged beside what copying the source would reach, and
    kept with signature and first sentences in ``translations_<split>.json``.

    Args:
        folder: the run's folder.
        num: sentences that are shown.
        every_n_epochs: write texts after each n-th epoch.
        beam, length_penalty: see ``zoo.translating.beam_search``.
    """

    def __init__(
        self, folder: str | Path, num: int = 3, every_n_epochs: int = 1, beam: int = 5, length_penalty: float = 0.6
    ) -> None:
        for name, value in (("num", num), ("every_n_epochs", every_n_epochs), ("beam", beam)):
            if value < 1:
                raise ZooError(f"Translations: {name} must be at least 1, got {value}")
        self.folder, self.num, self.every_n_epochs = Path(folder), num, every_n_epochs
        self.beam, self.length_penalty = beam, length_penalty
        self._said: list[str] = []

    # While training -------------------------------------------------------------------------------------------------

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._measure(trainer, pl_module, "val")
            return
        epoch = trainer.current_epoch + 1
        trial = trainer.sanity_checking or trainer.fast_dev_run  # type: ignore[attr-defined]
        if not trial and epoch % self.every_n_epochs == 0 and trainer.is_global_zero:
            with warns(f"the texts of epoch {epoch}"):
                self._show(trainer, _translator(pl_module), epoch)

    def _show(self, trainer: Trainer, module: Translates, epoch: int) -> None:
        batch = next(validation_batches(trainer), None)
        if batch is None:
            raise ZooError("there are no validation sentences")
        batch = Batch(*[part[: self.num] if isinstance(part, Tensor) else part for part in batch])
        data = _pairs(trainer)
        said = [data.vocabulary.decode(row) for row in module.translate(batch.x, batch.lengths).cpu()]
        # Evaluation keeps the order of the split, of which each process has every so-maniest.
        places = [trainer.global_rank + row * trainer.world_size for row in range(len(said))]
        rows = [[data.texts["val"][0][k], text, data.texts["val"][1][k]] for k, text in zip(places, said)]
        file = self.folder / "texts" / f"epoch_{epoch:04d}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(f"source      {a}\ntranslation {b}\nreference   {c}\n" for a, b, c in rows), "utf-8")
        for logger in trainer.loggers:
            if isinstance(logger, TakesTexts):
                logger.log_text("texts", ["source", "translation", "reference"], rows)

    # Measuring ------------------------------------------------------------------------------------------------------

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._said = []

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        self._translate(trainer, pl_module, batch)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._measure(trainer, pl_module, "test")

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._said = []

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._translate(trainer, pl_module, batch)

    def _translate(self, trainer: Trainer, module: LightningModule, raw: Any) -> None:
        batch, decode = as_batch(raw), _pairs(trainer).vocabulary.decode
        found = _translator(module).translate(batch.x, batch.lengths, self.beam, self.length_penalty)
        self._said += [decode(row) for row in found.cpu()]

    def _measure(self, trainer: Trainer, module: LightningModule, split: str) -> None:
        said = _in_order(self._said, trainer.world_size)
        sources, references = (texts[: len(said)] for texts in _pairs(trainer).texts[split])
        try:
            (reached, signature), copied = bleu(said, references), bleu(sources, references).score
        except ImportError:
            notice("BLEU is not measured: it needs sacrebleu; pip install 'lightning-zoo[translation]'")
            return
        module.log_dict({f"{split}/bleu": reached, f"{split}/bleu_of_copying": copied})
        if trainer.is_global_zero:
            notice(f"BLEU {reached:.1f} ({signature}) over {len(said):,} sentences")
            shown = [list(texts) for texts in zip(sources, said, references)][: self.num]
            search = {"beam": self.beam, "length_penalty": self.length_penalty}
            found = {"bleu": reached, "bleu_of_copying": copied, "signature": signature, **search, "texts": shown}
            file = self.folder / f"translations_{split}.json"
            file.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _in_order(said: list[str], world_size: int) -> list[str]:
    """The texts of all processes in the order of the split, of which process r has every so-maniest from the r-th."""
    if world_size == 1:
        return said
    parts: list[Any] = [None] * world_size
    torch.distributed.all_gather_object(parts, said)
    return [part[row] for row in range(max(map(len, parts))) for part in parts if row < len(part)]


def _translator(module: LightningModule) -> Translates:
    if not isinstance(module, Translates):
        raise ZooError(f"Translations shows what a model translates, and {type(module).__name__} does not; drop it")
    return module


def _pairs(trainer: Trainer) -> HasPairs:
    data = trainer.datamodule  # type: ignore[attr-defined]
    if not isinstance(data, HasPairs):
        raise ZooError(f"Translations needs data with texts in two languages, not {type(data).__name__}; drop it")
    return data
