"""Real samples to judge by: a part of a split, as the networks of a game see it."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from zoo.errors import DataError, ZooError
from zoo.randomness import permutation

_BATCH = 1000


@runtime_checkable
class HasSplits(Protocol):
    """Data in splits that are read by whole batches, as those of the zoo are: ``split[indices] -> (x, y, ...)``."""

    splits: Mapping[str, Any]

    def transform_batch(self, x: Tensor) -> Tensor: ...


class Real(NamedTuple):
    """Real samples, on the CPU.

    Attributes:
        x: (N, *sample_shape), as the networks see them.
        y: labels int64 (N,); None where the data have no classes.
    """

    x: Tensor
    y: Tensor | None


def real_samples(data: LightningDataModule | None, split: str, num: int) -> Real:
    """``num`` samples of a split, or all of fewer, without augmentation; the same whatever the run's seed.

    Raises:
        ZooError: the data have no such splits.
    """
    if not isinstance(data, HasSplits):
        raise ZooError(
            f"{type(data).__name__} has no splits to compare samples with; use a ZooDataModule, or drop what judges"
        )
    source = data.splits[split]
    chosen = permutation(len(source), "judged", split)[:num].sort().values
    parts = [source[part] for part in chosen.split(_BATCH)]
    x = torch.cat([data.transform_batch(part[0]).float() for part in parts])
    return Real(x, torch.cat([part[1] for part in parts]) if num_classes(data) else None)


def num_classes(data: LightningDataModule | None) -> int:
    """How many classes the data have; 0 for none."""
    try:
        return int(getattr(data, "num_classes", 0))
    except DataError:
        return 0


def data_name(data: LightningDataModule | None) -> str:
    """The data's name in those of metrics: of the file that defines them, such as ``fashion_mnist``."""
    return type(data).__module__.rsplit(".", 1)[-1]
