"""A few handwritten digits, drawn as MNIST draws them: what a network that knows MNIST is worth elsewhere."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from datamodules.augment import ImageTransform
from datamodules.digits import Digits
from datamodules.images import ImageDataModule
from zoo.errors import DataError
from zoo.randomness import permutation

_INK, _MARGIN = 20, 4  # MNIST's digits fill 20 x 20 pixels in the middle of 28 x 28


class FewDigits(ImageDataModule):
    """The digits of scikit-learn, 10 images a class to train and validate with, in the format of MNIST: 28 x 28 pixels.

    Other writers, another scanner, and strokes that 8 x 8 pixels leave blurred: near enough to MNIST for its networks
    to be of use, far enough not to be solved by them. The test images are those of Digits.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (CC BY 4.0); nothing to
    download.

    Args:
        per_class: images of each class, 2 to 100; ``val_fraction`` of them are held out for validation.
        batch_size, val_fraction, augment, eval_batch_size, drop_last, num_workers: see ImageDataModule.
        split_seed: decides which images they are, and which of them are held out.

    Raises:
        DataError: more images a class than there are.
    """

    channels, size = 1, 28
    classes = Digits.classes
    # Those of MNIST, so that its networks see what they know.
    mean, std = (0.1307,), (0.3081,)

    def __init__(
        self,
        per_class: int = 10,
        batch_size: int | Literal["full"] = 16,
        val_fraction: float = 0.2,
        augment: list[ImageTransform] | None = None,
        split_seed: int = 0,
        eval_batch_size: int = 512,
        drop_last: bool = False,
        num_workers: int = 0,
    ) -> None:
        super().__init__(batch_size, val_fraction, augment, split_seed, eval_batch_size, drop_last, num_workers)
        if not 2 <= per_class <= 100:
            raise DataError(f"FewDigits: per_class must lie in 2..100, got {per_class}")
        self.per_class = per_class

    def read(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        (x, y), (x_test, y_test) = Digits().read()
        order = permutation(len(y), self.split_seed, "few")
        few = torch.cat([order[y[order] == label][: self.per_class] for label in range(len(self.classes))])
        return (_as_mnist(x[few]), y[few]), (_as_mnist(x_test), y_test)


def _as_mnist(x: Tensor) -> Tensor:
    """uint8 (N, 1, 8, 8) -> (N, 1, 28, 28)."""
    ink = F.interpolate(x.float(), size=(_INK, _INK), mode="bicubic", antialias=False)
    return F.pad(ink.round().clamp(0, 255), [_MARGIN] * 4).to(torch.uint8)
