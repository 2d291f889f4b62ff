"""Sequential MNIST: digits read pixel by pixel, a test of how long a network remembers."""

from typing import TYPE_CHECKING, Literal

from torch import Tensor

from datamodules.idx import IdxImages
from datamodules.raw_pixels import RawPixels, pixel_steps
from zoo.preprocessing import Preprocessing
from zoo.randomness import permutation

if TYPE_CHECKING:
    from torchvision import datasets

_PIXELS = 28 * 28


class SequentialMNIST(IdxImages):
    """MNIST as sequences: x (B, 784, 1), one pixel a step, or (B, 28, 28), one row a step; 10 classes.

    With ``permute`` the pixels of all images come in one random order that is the same for every seed of a run, which
    leaves no neighbours to rely on. Le, Jaitly and Hinton, "A simple way to initialize recurrent networks of rectified
    linear units", 2015.

    Args:
        root: folder of all data sets, with ``MNIST/raw`` in it; None is ZOO_DATA, else a cache folder.
        steps: "pixels" are 784 of one channel, "rows" 28 of 28.
        permute: seed of the pixels' order; None leaves them as they are.
        batch_size, val_fraction, split_seed, eval_batch_size, drop_last: see ImageDataModule.
    """

    classes = tuple("0123456789")
    mean, std = (0.1307,), (0.3081,)

    def __init__(
        self,
        root: str | None = None,
        steps: Literal["pixels", "rows"] = "pixels",
        permute: int | None = None,
        batch_size: int | Literal["full"] = 128,
        val_fraction: float = 0.1,
        split_seed: int = 0,
        eval_batch_size: int = 512,
        drop_last: bool = False,
    ) -> None:
        super().__init__(
            root, batch_size, val_fraction,
            split_seed=split_seed, eval_batch_size=eval_batch_size, drop_last=drop_last,
        )  # fmt: skip
        self.steps, self.permute = steps, permute
        self._order = None if permute is None else permutation(_PIXELS, permute, "pixels")

    @property
    def num_channels(self) -> int:
        return 1 if self.steps == "pixels" else 28

    @property
    def window(self) -> int:
        return _PIXELS // self.num_channels

    @property
    def in_channels(self) -> int:
        raise self._lacks("in_channels", "its samples are sequences; use a model for sequences, or the data set MNIST")

    @property
    def image_size(self) -> int:
        raise self._lacks("image_size", "its samples are sequences; use a model for sequences, or the data set MNIST")

    def dataset(self) -> "type[datasets.MNIST]":
        from torchvision import datasets

        return datasets.MNIST

    def preprocessing(self) -> Preprocessing | None:
        image = (self.channels, self.size, tuple(self.mean), tuple(self.std))
        return RawPixels(tuple(self.classes), *image, self.num_channels, self._order)

    def transform_batch(self, x: Tensor) -> Tensor:
        return pixel_steps(super().transform_batch(x), self.num_channels, self._order)
