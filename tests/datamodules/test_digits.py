import pytest
import torch
from sklearn.datasets import load_digits

from datamodules.base import TensorSplit
from datamodules.digits import Digits


def splits(split_seed: int = 0) -> dict[str, TensorSplit]:
    data = Digits(split_seed=split_seed)
    data.setup("fit")
    return {name: split for name, split in data.splits.items() if isinstance(split, TensorSplit)}


def test_facts_and_sizes() -> None:
    data = Digits()
    assert (data.num_classes, data.in_channels, data.image_size, data.in_features) == (10, 1, 8, 64)
    parts = splits()
    assert {name: len(split) for name, split in parts.items()} == {"train": 1295, "val": 143, "test": 359}
    # Together they are the set, nothing twice: the rows of both, sorted in the same way, agree.
    rows = torch.cat([split.x.flatten(1) for split in parts.values()]).unique(dim=0, return_counts=True)
    whole = torch.from_numpy(load_digits().data * 255 / 16).round().to(torch.uint8).unique(dim=0, return_counts=True)
    assert torch.equal(rows[0], whole[0])
    assert torch.equal(rows[1], whole[1])


def test_split_seed_moves_val_and_never_test() -> None:
    first, again, other = splits(), splits(), splits(split_seed=1)
    assert torch.equal(first["val"].x, again["val"].x)
    assert not torch.equal(first["val"].x, other["val"].x)
    assert torch.equal(first["test"].x, other["test"].x)


def test_train_is_normalised() -> None:
    data = Digits()
    data.setup("fit")
    x = data.transform_batch(splits()["train"].x)
    assert abs(x.mean()) < 0.01
    assert abs(x.std() - 1) < 0.01


def test_pixels_can_be_brought_to_a_symmetric_range() -> None:
    data = Digits(normalize="symmetric")
    data.setup("fit")
    x = data.transform_batch(data.splits["train"].x)  # type: ignore[attr-defined]
    assert (x.min().item(), x.max().item()) == data.sample_range == (-1.0, 1.0)
    assert data.sample_shape == [1, 8, 8]
    low, high = Digits().sample_range
    x = Digits().transform_batch(data.splits["train"].x)  # type: ignore[attr-defined]
    assert (x.min().item(), x.max().item()) == pytest.approx((low, high))
