"""Image sets in the IDX format of the MNIST files, read through torchvision, which also knows their checksums."""

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from datamodules.downloaded import DownloadedImages

if TYPE_CHECKING:
    from torchvision import datasets


class IdxImages(DownloadedImages):
    """Base of grey images of 28 x 28 pixels in the four files ``<root>/<set>/raw/{train,t10k}-*-ubyte``."""

    channels, size = 1, 28

    @abstractmethod
    def dataset(self) -> "type[datasets.MNIST]":
        """Torchvision's class of this set; imported only when it is used, since that takes more than a second."""

    def files(self) -> list[Path]:
        return [image_or_label for stem in ("train", "t10k") for image_or_label in self._pair(stem)]

    def download(self) -> None:
        self.dataset()(self.root, download=True)

    def read(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        return self._read("train"), self._read("t10k")

    def _pair(self, stem: str) -> tuple[Path, Path]:
        folder = self.root / self.dataset().__name__ / "raw"
        return folder / f"{stem}-images-idx3-ubyte", folder / f"{stem}-labels-idx1-ubyte"

    def _read(self, stem: str) -> tuple[Tensor, Tensor]:
        from torchvision.datasets.mnist import read_image_file, read_label_file

        images, labels = self._pair(stem)
        path = images
        try:
            x: Tensor = read_image_file(str(images))  # (N, 28, 28)
            path = labels
            return x[:, None], read_label_file(str(labels))
        # What torchvision's parser raises for a wrong magic number, type, rank or length.
        except (AssertionError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise self.damaged(path, f"{path.stat().st_size} bytes are no whole IDX file") from error
