"""Tiny Shakespeare: the text that character models are compared on."""

from pathlib import Path
from typing import Literal

from datamodules.char_text import read_text
from datamodules.characters import CharacterDataModule
from datamodules.downloaded import DownloadedFiles, fetch
from datamodules.root import data_root

_SOURCE = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Shakespeare(DownloadedFiles, CharacterDataModule):
    """Plays of Shakespeare, 1,115,394 characters, 65 different ones; the first 90 % are train.

    Scores that others give for val are over the last 10 %, which here are val and, their second half, test.

    Source: A. Karpathy, "The unreasonable effectiveness of recurrent neural networks", 2015 (public domain).

    Args:
        root: folder of all data sets, with ``tinyshakespeare/input.txt`` in it; None is ZOO_DATA, else a cache folder.
        batch_size, window, mode, val_fraction, eval_batch_size, drop_last: see CharacterDataModule.
    """

    characters = "\n !$&',-.3:;?" + _LETTERS.upper() + _LETTERS

    def __init__(
        self,
        root: str | None = None,
        batch_size: int = 64,
        window: int = 128,
        mode: Literal["shuffle", "streams"] = "shuffle",
        val_fraction: float = 0.1,
        eval_batch_size: int = 64,
        drop_last: bool = False,
    ) -> None:
        super().__init__(batch_size, window, mode, val_fraction, False, eval_batch_size, drop_last)
        self.root = data_root(root)

    @property
    def vocabulary_size(self) -> int:
        return len(self.characters)  # known before the file is there

    def files(self) -> list[Path]:
        return [self.root / "tinyshakespeare" / "input.txt"]

    def download(self) -> None:
        fetch(_SOURCE, _SHA256, self.files()[0])

    def read(self) -> tuple[str, str]:
        self.require_files()
        text = read_text(self.files()[0])
        if set(text) != set(self.characters):
            raise self.damaged(self.files()[0], f"{len(set(text))} different characters instead of 65")
        return text, str(self.files()[0])
