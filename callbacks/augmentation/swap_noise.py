"""Swap noise: corrupt a table with values that its columns really hold."""

import torch
from torch import Tensor

from callbacks.technique import Technique, UnsupportedModule
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.module import SupervisedModule, ZooModule


def swap_noise(x: Tensor, swapped: Tensor, offset: Tensor) -> Tensor:
    """x~[i, d] = x[(i + offset[i, d]) mod B, d] where ``swapped[i, d]``, and x[i, d] elsewhere.

    Args:
        x: a batch of rows, (B, D), of any type: numbers stay numbers of their column, codes stay valid codes.
        swapped: bool (B, D).
        offset: int64 (B, D), in 1..B-1, so that the donor is always another row.
    """
    donor = (torch.arange(len(x), device=x.device)[:, None] + offset) % len(x)  # (B, D)
    return torch.where(swapped, x.gather(0, donor), x)


class SwapNoise(Technique):
    """Replace each feature, with probability p, by that of another row of the batch; targets stay.

    Each column keeps its distribution, which noise of a fixed shape would not: the swapped value is a draw from the
    column's own. Described by M. Jahrer in the winning solution of Porto Seguro's Safe Driver Prediction, 2017
    ("inputSwapNoise", for denoising autoencoders); here as augmentation of supervised rows.

    Args:
        p: probability in [0, 1) for each feature of each row; 0 changes nothing.
    """

    supports = SupervisedModule
    inputs = ("vectors",)

    def __init__(self, p: float = 0.1) -> None:
        if not 0 <= p < 1:
            raise ZooError(f"SwapNoise: p is a probability in [0, 1), got {p}; 0.05 to 0.2 are usual")
        self.p = p

    def attach(self, module: ZooModule) -> None:
        self.add_batch_transform(module, self.transform)

    def transform(self, module: ZooModule, batch: Batch) -> Batch:
        """The batch with some features swapped."""
        if self.p == 0 or batch.size < 2:
            return batch
        x = batch.x
        if not isinstance(x, Tensor) or x.ndim != 2:
            kind = f"inputs of shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            raise UnsupportedModule(f"SwapNoise needs the rows of a table, one tensor (B, D), got {kind}; drop it")
        swapped = torch.rand(x.shape, device=x.device) < self.p
        offset = torch.randint(1, batch.size, x.shape, device=x.device)
        return batch._replace(x=swap_noise(x, swapped, offset))

    def no_effect_hint(self) -> str:
        return f"p is {self.p} and has to be positive, and a batch needs two rows"
