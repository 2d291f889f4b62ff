"""Text as people have it, in the tokens of a byte-pair encoding."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from datamodules.bpe import BPE, END
from datamodules.raw_text import as_texts
from zoo.preprocessing import Preprocessing


@dataclass(frozen=True)
class RawSubwords(Preprocessing):
    """Token numbers (N, T), zeros behind each text's end, and their lengths; and text from token numbers.

    Args:
        outputs: what each token of what the network writes stands for.
        source: state of the encoding of texts that the network reads, see BPE.
        target: state of the encoding of texts that it writes; null where it is the same.
        ended: whether a text that is read has END behind it.
    """

    source: str
    target: str | None = None
    ended: bool = False

    @classmethod
    def of(cls, source: BPE, target: BPE | None = None, ended: bool = False) -> "RawSubwords":
        """What encodings know; arguments as those of the class."""
        written = source if target is None else target
        names = tuple(written.decode(torch.tensor([token])) for token in range(len(written)))
        return cls(names, source.state, None if target is None else target.state, ended)

    def __call__(self, raw: Any) -> tuple[Tensor, Tensor]:
        end = [END] * self.ended
        tokens = [torch.tensor(text + end) for text in BPE(self.source).encode_each(as_texts(raw))]
        return pad_sequence(tokens, batch_first=True), torch.tensor([len(one) for one in tokens])

    def text(self, tokens: Tensor) -> str:
        """The text of token numbers (T,)."""
        return BPE(self.source if self.target is None else self.target).decode(tokens)
