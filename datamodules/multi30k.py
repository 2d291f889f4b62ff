"""Multi30k: what pictures show, in English and in German."""

import gzip
import hashlib
import tempfile
from pathlib import Path
from typing import Literal

from datamodules.downloaded import DownloadedFiles
from datamodules.root import data_root
from datamodules.translation import Pairs, TranslationDataModule
from datamodules.translation_files import read_pairs

_SOURCE = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw/"
# Of the texts, unpacked.
_SHA256 = {
    "train.en": "460a15fbd157e34a7a9957ee388c1ca247fe47af3ef25fb50442af6c274e0fc6",
    "train.de": "2c2b73fd2b548fbcde3a875e0a78d6ee94d498bfdee6bd3eae3945779e9ddf72",
    "val.en": "1f2a23d992769b5b3d209b0a10dd0b77c08cceb1f20dfb97ed0aafa49d107227",
    "val.de": "660e09eb7e1da2f856ea13ee5ad3cf6d36b3d5b0b733c857e94c5747a3dfc660",
    "test_2016_flickr.en": "399a4382932c1aadd3ceb9bef1008d388a64c76d4ae4e9d4728c6f4301cac182",
    "test_2016_flickr.de": "4be6b5b3236b79c25475c6bb829800a7ce559e9ba7a1f6c2394fe4d40be46d16",
}
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
                text = gzip.decompress(packed.read_bytes())
            if hashlib.sha256(text).hexdigest() != _SHA256[path.name]:
                raise RuntimeError(f"{packed.name} from there is another file than the known one: its sha256 differs")
            path.write_bytes(text)

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
