"""Text as people have it, in characters."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from datamodules.vocabulary import Vocabulary
from zoo.errors import DataError
from zoo.preprocessing import Preprocessing


def as_texts(raw: Any) -> list[str]:
    """One text or several as a list; DataError where one is empty or something else."""
    texts = [raw] if isinstance(raw, str) else raw
    if not isinstance(texts, Sequence) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise DataError("give a text of one character at least, or a list of texts")
    return list(texts)


@dataclass(frozen=True)
class RawText(Preprocessing):
    """Token numbers (N, T), zeros behind each text's end, and their lengths; and text from token numbers.

    Args:
        outputs: what each token stands for.
        characters, unknown_token: see Vocabulary.
    """

    characters: str
    unknown_token: bool

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> "RawText":
        """What a vocabulary knows."""
        every = torch.arange(len(vocabulary))
        return cls(tuple(vocabulary.decode(every)), vocabulary.characters, vocabulary.unknown_token)

    def __call__(self, raw: Any) -> tuple[Tensor, Tensor]:
        vocabulary = Vocabulary(self.characters, self.unknown_token)
        tokens = [vocabulary.encode(text, f"text {place}") for place, text in enumerate(as_texts(raw))]
        return pad_sequence(tokens, batch_first=True), torch.tensor([len(one) for one in tokens])

    def text(self, tokens: Tensor) -> str:
        """The text of token numbers (T,)."""
        return Vocabulary(self.characters, self.unknown_token).decode(tokens)
