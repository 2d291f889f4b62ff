"""Multi30k: what pictures show, in English and in German."""

import gzip
import tempfile
from pathlib import Path
from typing import Literal

from datamodules.downloaded import DownloadedFiles
from datamodules.root import data_root
from datamodules.translation import Pairs, TranslationDataModule
from datamodules.translation_files import read_pairs

_SOURCE = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw/"
_FILES = {"train": ("train", 29_000), "val": ("val", 1_014), "test": ("test_2016_flickr", 1_000)}


class Multi30k(DownloadedFiles, TranslationDataModule):
    """29,000 pairs of sentences to train, 1,014 to validate, and the test set of 2016 with 1,000.

    Source: Elliott, Frank, Sima'an and Specia, "Multi30K: Multilingual English-German image descriptions", 2016, the
    data of task 1; for research.

    Args:
        root: folder of all data sets, with ``multi30k/train.en`` and so on; None is ZOO_DATA, else a cache folder.
        source: language to translate from; the other one is the target.
        batch_size, vocabulary_size, shared, longest, pool, eval_batch_size, drop_last: see TranslationDataModule.
    """

    def __init__(
        self,
        root: str | None = None,
        source: Literal["en", "de"] = "en",
        batch_size: int = 64,
        vocabulary_size: int = 8000,
        shared: bool = True,
        longest: int = 128,
        pool: int = 50,
        eval_batch_size: int = 128,
        drop_last: bool = False,
    ) -> None:
        super().__init__(batch_size, vocabulary_size, shared, longest, pool, eval_batch_size, drop_last)
        self.root = data_root(root)
        self.languages = (source, "de" if source == "en" else "en")

    def files(self) -> list[Path]:
        return [self._file(name, language) for name, _ in _FILES.values() for language in ("en", "de")]

    def download(self) -> None:
        from torch.hub import download_url_to_file

        for path in self.missing():
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory() as folder:
                packed = Path(folder, f"{path.name}.gz")
                download_url_to_file(f"{_SOURCE}{packed.name}", str(packed), progress=False)
                path.write_bytes(gzip.decompress(packed.read_bytes()))

    def read(self, split: str) -> Pairs:
        self.require_files()
        name, lines = _FILES[split]
        source, target = (self._file(name, language) for language in self.languages)
        pairs = read_pairs(source, target)
        if len(pairs.sources) != lines:
            raise self.damaged(source, f"{len(pairs.sources):,} lines instead of {lines:,}")
        return pairs

    def _file(self, name: str, language: str) -> Path:
        return self.root / "multi30k" / f"{name}.{language}"
