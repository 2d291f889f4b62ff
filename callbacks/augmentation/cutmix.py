"""CutMix: paste a box of one image into another, and mix the labels by area."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from callbacks.augmentation.mixing import BatchMixing, draw_share, mix_targets
from callbacks.technique import UnsupportedModule
from zoo.batch import Batch
from zoo.module import SupervisedModule
from zoo.task import Classification, Task


class Box(NamedTuple):
    """Rows top..bottom and columns left..right of an image, the ends excluded."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def area(self) -> int:
        """Pixels inside."""
        return (self.bottom - self.top) * (self.right - self.left)


def cut_box(height: int, width: int, share: float, row: int, column: int) -> Box:
    """The box that is cut out: sides H sqrt(1 - l) and W sqrt(1 - l) round a centre, clipped to the image.

    Yun et al. 2019, eq. 2; half sides are rounded down to whole pixels.

    Args:
        height, width: of the image, in pixels.
        share: l in [0, 1], the part that the image keeps before clipping; 1 cuts nothing.
        row, column: the centre, in [0, height) and [0, width).
    """
    reach = math.sqrt(1 - share) / 2
    rows, columns = int(reach * height), int(reach * width)
    return Box(max(row - rows, 0), min(row + rows, height), max(column - columns, 0), min(column + columns, width))


def cutmix(batch: Batch, task: Task, permutation: Tensor, box: Box) -> Batch:
    """x~ = M x_i + (1 - M) x_j and y~ = l y_i + (1 - l) y_j with l = 1 - area / (H W). Yun et al. 2019, eq. 1.

    Args:
        batch: x images (B, C, H, W); y classes (B,) or soft targets (B, num_classes).
        task: says what the targets are.
        permutation: int64 (B,), j for each i.
        box: where M is zero.

    Returns:
        the mixed batch; the share is that of the pixels that were really pasted, to the pixel.
    """
    height, width = batch.x.shape[-2:]
    x = batch.x.clone()
    inside = (..., slice(box.top, box.bottom), slice(box.left, box.right))
    x[inside] = batch.x[permutation][inside]
    share = torch.tensor(1 - box.area / (height * width))
    return mix_targets(batch, task, permutation, share)._replace(x=x)


class CutMix(BatchMixing):
    """Replace a random box of each image by that of another image of the batch; labels are mixed by area.

    Yun, Han, Oh, Chun, Choe and Yoo, "CutMix: Regularization strategy to train strong classifiers with localizable
    features", 2019. One box for the batch. For classification: the area says how much of a class is seen, and nothing
    about a real value.

    Args:
        alpha: of Beta(alpha, alpha) for the kept share before clipping; 0 cuts nothing, 1 draws areas uniformly.
        p: probability in [0, 1] that a batch is mixed.
    """

    inputs = ("images",)
    tasks = (Classification,)

    def __init__(self, alpha: float = 1.0, p: float = 0.5) -> None:
        super().__init__(alpha, p)

    def require_inputs(self, batch: Batch) -> None:
        super().require_inputs(batch)
        if batch.x.ndim != 4:
            raise UnsupportedModule(
                f"CutMix cuts boxes out of images (B, C, H, W), got inputs of shape {tuple(batch.x.shape)}; use MixUp"
            )

    def mix(self, module: SupervisedModule, batch: Batch, permutation: Tensor) -> Batch:
        height, width = batch.x.shape[-2:]
        share = draw_share(self.alpha).item()
        row, column = torch.randint(height, ()).item(), torch.randint(width, ()).item()
        return cutmix(batch, module.task, permutation, cut_box(height, width, share, int(row), int(column)))
