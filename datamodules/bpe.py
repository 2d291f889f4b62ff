"""Texts as tokens between characters and words, and back: byte-pair encoding by the library ``tokenizers``."""

import os
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from zoo.errors import DataError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BEGIN, END = 0, 1
"""Stands before a text, and behind it; no text has them within."""
_SPECIAL = ("<begin>", "<end>")
_LEAST = len(_SPECIAL) + 256


class BPE:
    """Byte-pair encoding over bytes: every text can be encoded, and decoding gives it back to the letter.

    Sennrich, Haddow and Birch, "Neural machine translation of rare words with subword units", 2016; over bytes as in
    Radford et al. 2019. Tokens do not cross words, and a space belongs to the word behind it.

    Args:
        state: what ``state`` returned; see ``trained_on``.
    """

    def __init__(self, state: str) -> None:
        self.state = state

    @classmethod
    def trained_on(cls, texts: Iterable[str], size: int) -> "BPE":
        """Merge the pairs of tokens that come most often until there are ``size`` tokens, at least 258.

        Short texts have no pairs left before that; the last numbers then stand for nothing.
        """
        check_size(size)
        library = _library()
        tokenizer = library.Tokenizer(library.models.BPE())
        tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = library.decoders.ByteLevel()
        trainer = library.trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=list(_SPECIAL),
            initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        # Texts that happen to contain these words must not become the tokens.
        tokenizer.encode_special_tokens = True
        return cls(tokenizer.to_str())

    def __len__(self) -> int:
        return int(self._tokenizer.get_vocab_size())

    @cached_property
    def _tokenizer(self) -> "Tokenizer":
        tokenizer = _library().Tokenizer.from_str(self.state)
        tokenizer.encode_special_tokens = True
        return tokenizer

    def encode(self, text: str) -> Tensor:
        """Token numbers of one text, int64 (N,)."""
        return torch.tensor(self._tokenizer.encode(text, add_special_tokens=False).ids, dtype=torch.int64)

    def encode_each(self, texts: list[str]) -> list[list[int]]:
        """Token numbers of each text."""
        return [found.ids for found in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    def decode(self, tokens: Tensor) -> str:
        """The text of token numbers (N,); BEGIN, END and numbers below zero are left out."""
        return self._tokenizer.decode([token for token in tokens.tolist() if token > END], skip_special_tokens=False)


def check_size(size: int) -> None:
    """Raise DataError where a vocabulary has no room for all bytes."""
    if size < _LEAST:
        raise DataError(f"vocabulary_size must be at least {_LEAST}, of which {_LEAST - 2} are the bytes, got {size}")


def _library() -> Any:
    """The library, at its first use: few runs need it."""
    # Its threads would take all cores from processes beside this one, and it warns of every fork behind them.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        import tokenizers
    except ImportError:
        raise DataError("texts as BPE tokens need the package tokenizers; pip install 'lightning-zoo[text]'") from None
    return tokenizers
