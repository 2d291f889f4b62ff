"""Data sets that are files under the data root, downloaded when they are not there."""

from abc import abstractmethod
from http.client import HTTPException
from pathlib import Path
from typing import Any, Literal

from torch.utils.data import Dataset

from datamodules.augment import ImageTransform
from datamodules.images import ImageDataModule
from datamodules.root import data_root
from zoo.errors import DataError
from zoo.notice import notice


class DownloadedFiles:
    """What data sets share that come from the network once; a subclass says which files, and how to get them.

    Attributes:
        root: folder of all data sets.
    """

    root: Path

    @abstractmethod
    def files(self) -> list[Path]:
        """The files that ``read`` opens, under ``self.root``."""

    @abstractmethod
    def download(self) -> None:
        """Bring all of ``files()`` into being."""

    def prepare_data(self) -> None:
        """Download what is missing; Lightning calls this in one process of each machine.

        Raises:
            DataError: files are missing and could not be downloaded, such as offline.
        """
        missing = self.missing()
        if missing:
            notice(f"{type(self).__name__}: downloading to {self.root}")
            try:
                self.download()
            # RuntimeError and EOFError are a wrong checksum and a broken archive.
            except (OSError, HTTPException, RuntimeError, EOFError) as error:
                lines = str(error).strip().splitlines() or [type(error).__name__]
                raise self._missing_error(missing, f"and the download failed ({lines[-1].strip()})") from error

    def missing(self) -> list[Path]:
        """Those of ``files()`` that are not there."""
        return [path for path in self.files() if not path.is_file()]

    def require_files(self) -> None:
        """Raise DataError when files are missing."""
        missing = self.missing()
        if missing:
            raise self._missing_error(missing, "and nothing was downloaded: call prepare_data() first")

    def damaged(self, path: Path, why: object) -> DataError:
        """The error for a file that is there but cannot be read."""
        return DataError(
            f"{type(self).__name__}: cannot read {path} ({why}); delete it, and the next run fetches it anew"
        )

    def _missing_error(self, missing: list[Path], why: str) -> DataError:
        folder = missing[0].parent
        names = ", ".join(path.name for path in missing)
        return DataError(
            f"{type(self).__name__}: {names} not found in {folder} {why}; put the files there, or point --data.root or"
            f" the environment variable ZOO_DATA at the folder that has {missing[0].relative_to(self.root)}"
        )


class DownloadedImages(DownloadedFiles, ImageDataModule):
    """Base of image sets that come from the network once; a subclass says which files, how to get and to read them.

    Args:
        root: folder of all data sets; None is the environment variable ZOO_DATA, else a cache folder.
        batch_size, val_fraction, augment, split_seed, eval_batch_size, drop_last, num_workers, normalize: see
            ImageDataModule.
    """

    def __init__(
        self,
        root: str | None = None,
        batch_size: int | Literal["full"] = 128,
        val_fraction: float = 0.1,
        augment: list[ImageTransform] | None = None,
        split_seed: int = 0,
        eval_batch_size: int = 512,
        drop_last: bool = False,
        num_workers: int = 0,
        normalize: Literal["train", "symmetric"] = "train",
    ) -> None:
        super().__init__(
            batch_size, val_fraction, augment, split_seed, eval_batch_size, drop_last, num_workers, normalize
        )
        self.root = data_root(root)

    def load(self) -> dict[str, Dataset[Any]]:
        self.require_files()
        return super().load()


def fetch(url: str, sha256: str, path: Path) -> None:
    """Download a file whose SHA-256 is known; nothing is left at ``path`` when it is another.

    Raises:
        OSError: no connection, or the server does not have the file.
        RuntimeError: the file is not the one that was expected.
    """
    from torch.hub import download_url_to_file

    path.parent.mkdir(parents=True, exist_ok=True)
    download_url_to_file(url, str(path), hash_prefix=sha256, progress=False)
