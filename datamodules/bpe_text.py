"""Any text file as tokens between characters and words."""

from functools import cached_property
from typing import Any, Literal

from torch import Tensor

from datamodules.bpe import BPE, check_size
from datamodules.char_text import CharText
from datamodules.raw_subwords import RawSubwords
from datamodules.texts import TextDataModule
from zoo.preprocessing import Preprocessing


class BPEText(TextDataModule):
    """A text of your own, or the source of Python's standard library, in tokens of a byte-pair encoding.

    The encoding has seen the training part alone and travels in the checkpoint. Perplexities of different encodings
    cannot be compared.

    Args:
        file, limit: see CharText.
        vocabulary_size: tokens, at least 258; 2,000 to 8,000 for a text of megabytes.
        batch_size, window, mode, val_fraction, eval_batch_size, drop_last: see TextDataModule.
    """

    def __init__(
        self,
        file: str | None = None,
        limit: int | None = None,
        vocabulary_size: int = 4000,
        batch_size: int = 64,
        window: int = 128,
        mode: Literal["shuffle", "streams"] = "shuffle",
        val_fraction: float = 0.1,
        eval_batch_size: int = 64,
        drop_last: bool = False,
    ) -> None:
        super().__init__(batch_size, window, mode, val_fraction, eval_batch_size, drop_last)
        check_size(vocabulary_size)
        self._vocabulary_size, self._source = vocabulary_size, CharText(file, limit)

    @property
    def vocabulary_size(self) -> int:
        return self._vocabulary_size  # known before the text is read

    def read(self) -> tuple[str, str]:
        return self._source.read()

    @cached_property
    def vocabulary(self) -> BPE:
        """The encoding."""
        first, last = self.part("train")
        # Line by line: the library counts words of one text at a time.
        return BPE.trained_on(self.text[first:last].splitlines(keepends=True), self._vocabulary_size)

    def preprocessing(self) -> Preprocessing | None:
        return RawSubwords.of(self.vocabulary)

    def numbered(self) -> dict[str, Tensor]:
        return {name: self.vocabulary.encode(self.text[slice(*self.part(name))]) for name in ("train", "val", "test")}

    def state_dict(self) -> dict[str, Any]:
        """Adds what the tokens mean."""
        return {**super().state_dict(), "vocabulary": self.vocabulary.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Number tokens as the network was trained."""
        super().load_state_dict(state)
        if state["vocabulary"] != self.vocabulary.state:
            self.vocabulary = BPE(state["vocabulary"])
            if self.splits:  # they were numbered before the checkpoint was read
                self.splits = self.load()
