"""Parallel texts of your own: two files for each split, a sentence a line."""

from pathlib import Path

from datamodules.char_text import read_text
from datamodules.translation import Pairs, TranslationDataModule
from zoo.errors import DataError


class TranslationFiles(TranslationDataModule):
    """Files ``train.en``, ``train.de``, ``val.en``, ``val.de``, ``test.en`` and ``test.de``, or of other languages.

    They are UTF-8; line k of one is the translation of line k of the other.

    Args:
        folder: where they are.
        source, target: the languages, as the files' names end.
        batch_size, vocabulary_size, shared, longest, pool, eval_batch_size, drop_last: see TranslationDataModule.
    """

    def __init__(
        self,
        folder: str,
        source: str = "en",
        target: str = "de",
        batch_size: int = 64,
        vocabulary_size: int = 8000,
        shared: bool = True,
        longest: int = 128,
        pool: int = 50,
        eval_batch_size: int = 128,
        drop_last: bool = False,
    ) -> None:
        super().__init__(batch_size, vocabulary_size, shared, longest, pool, eval_batch_size, drop_last)
        self.folder, self.languages = Path(folder).expanduser(), (source, target)

    def read(self, split: str) -> Pairs:
        return read_pairs(*(self.folder / f"{split}.{language}" for language in self.languages))


def read_pairs(sources: Path, targets: Path) -> Pairs:
    """The lines of two files.

    Raises:
        DataError: a file cannot be read, or they have not as many lines.
    """
    pairs = Pairs(read_lines(sources), read_lines(targets))
    if len(pairs.sources) != len(pairs.targets):
        raise DataError(
            f"{sources.name} has {len(pairs.sources):,} lines and {targets.name} {len(pairs.targets):,}; line k of one"
            " has to be the translation of line k of the other"
        )
    return pairs


def read_lines(file: Path) -> list[str]:
    """The lines of a text file, without their ends."""
    # Not splitlines(): it takes characters within a sentence for ends of lines.
    lines = read_text(file).replace("\r\n", "\n").split("\n")
    return lines[:-1] if not lines[-1] else lines
