"""Characters as numbers and back."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.errors import DataError

_SHOWN = "\N{REPLACEMENT CHARACTER}"


class Vocabulary:
    """The characters of a text in the order of their code points, numbered from 0.

    Args:
        characters: all that are known, in any order.
        unknown_token: put one more token before them all, 0, which stands for every other character.
    """

    def __init__(self, characters: str, unknown_token: bool = False) -> None:
        self.characters, self.unknown_token = "".join(sorted(set(characters))), unknown_token
        self._points = code_points(self.characters)

    def __len__(self) -> int:
        return len(self.characters) + self.unknown_token

    def encode(self, text: str, where: str = "text") -> Tensor:
        """Token numbers, int64 (len(text),).

        Raises:
            DataError: names the first character that is not known, and its place, unless there is a token for it.
        """
        points = code_points(text)
        place = np.searchsorted(self._points, points).clip(max=len(self._points) - 1)
        strange = np.flatnonzero(self._points[place] != points)
        if len(strange) and not self.unknown_token:
            first = int(strange[0])
            raise DataError(
                f"{where}: character {text[first]!r} at position {first:,} is not among the {len(self.characters)} that"
                f" the training text has ({len(strange):,} such in all); remove it, or train with"
                " --data.unknown_token true"
            )
        tokens = place.astype(np.int64) + self.unknown_token
        tokens[strange] = 0
        return torch.from_numpy(tokens)

    def decode(self, tokens: Tensor) -> str:
        """The text of token numbers (N,); an unknown one is shown as U+FFFD."""
        shown = _SHOWN * self.unknown_token + self.characters
        return "".join(shown[token] for token in tokens.tolist())


def code_points(text: str) -> NDArray[np.uint32]:
    """Unicode numbers of the characters, (len(text),)."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
