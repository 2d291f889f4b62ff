"""Texts as sequences of characters, to predict each from those before it."""

from functools import cached_property
from typing import Any, Literal

from torch import Tensor

from datamodules.raw_text import RawText
from datamodules.texts import TextDataModule
from datamodules.vocabulary import Vocabulary
from zoo.preprocessing import Preprocessing


class CharacterDataModule(TextDataModule):
    """Base of texts whose tokens are characters; the vocabulary is that of the training part.

    Args:
        unknown_token: a token for characters that the training part has not; without it they are an error.
        batch_size, window, mode, val_fraction, eval_batch_size, drop_last: see TextDataModule.
    """

    unit = "characters"

    def __init__(
        self,
        batch_size: int = 64,
        window: int = 128,
        mode: Literal["shuffle", "streams"] = "shuffle",
        val_fraction: float = 0.1,
        unknown_token: bool = False,
        eval_batch_size: int = 64,
        drop_last: bool = False,
    ) -> None:
        super().__init__(batch_size, window, mode, val_fraction, eval_batch_size, drop_last)
        self.unknown_token = unknown_token

    @property
    def vocabulary_size(self) -> int:
        return len(self.vocabulary)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The characters of the training part."""
        first, last = self.part("train")
        return Vocabulary(self.text[first:last], self.unknown_token)

    def preprocessing(self) -> Preprocessing | None:
        return RawText.of(self.vocabulary)

    def numbered(self) -> dict[str, Tensor]:
        tokens = self.vocabulary.encode(self.text, type(self).__name__)
        return {name: tokens[slice(*self.part(name))] for name in ("train", "val", "test")}

    def state_dict(self) -> dict[str, Any]:
        """Adds what the tokens mean."""
        known = {"characters": self.vocabulary.characters, "unknown_token": self.unknown_token}
        return {**super().state_dict(), **known}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Number characters as the network was trained."""
        super().load_state_dict(state)
        self.unknown_token = state["unknown_token"]
        self.vocabulary = Vocabulary(state["characters"], self.unknown_token)
        if self.splits:  # they were numbered before the checkpoint was read
            self.splits = self.load()
