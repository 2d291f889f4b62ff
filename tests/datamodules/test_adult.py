"""Adult: the original files' rows and split, missing values and categories."""

from typing import Any

import pytest
import torch

from datamodules.adult import Adult
from datamodules.base import TensorSplit


def test_facts_without_setup() -> None:
    data = Adult()
    assert (data.in_features, data.num_numerical, data.num_classes, len(data.features)) == (14, 6, 2, 14)
    # Values in the training rows (a missing one counts as a value), and the unknown code.
    assert data.cardinalities == [10, 17, 8, 16, 7, 6, 3, 43]
    hot = Adult(categories="one_hot")
    assert (hot.in_features, hot.num_numerical, hot.cardinalities) == (108, 108, [])


def test_rows_are_the_published_ones() -> None:
    data = Adult()
    table, y = data.table
    assert table.numbers[0].tolist() == [39, 77516, 13, 2174, 0, 40]
    assert table.categories[0].tolist()[:4] == ["State-gov", "Bachelors", "Never-married", "Adm-clerical"]
    assert len(y) == 48842
    assert int(y[:32561].sum()) == 7841
    assert int(y[32561:].sum()) == 3846
    assert table.numbers[32561].tolist() == [25, 226802, 7, 0, 0, 40]
    # Work class, occupation and country of the training file lack 1836, 1843 and 583 values.
    assert (table.categories[:32561] == "").sum(0).tolist() == [1836, 0, 0, 1843, 0, 0, 0, 583]


def test_splits() -> None:
    data, other = Adult(), Adult(split_seed=1)
    data.setup("fit")
    other.setup("fit")
    sizes = {name: len(split) for name, split in data.splits.items()}  # type: ignore[arg-type]
    assert sizes == {"train": 27351, "val": 5210, "test": 16281}
    assert torch.equal(data.rows["test"], torch.arange(32561, 48842))
    assert torch.equal(torch.cat([data.rows["train"], data.rows["val"]]).sort().values, torch.arange(32561))
    assert not torch.equal(data.rows["val"], other.rows["val"])
    for name in ("train", "val"):
        split: Any = data.splits[name]
        assert float(split.y.float().mean()) == pytest.approx(7841 / 32561, abs=2e-4), "of either class the same share"


def test_codes_are_whole_and_within_their_cardinality() -> None:
    data = Adult()
    data.setup("fit")
    for name, split in data.splits.items():
        assert isinstance(split, TensorSplit)
        codes = split.x[:, data.num_numerical :]
        assert torch.equal(codes, codes.round())
        assert (codes < torch.tensor(data.cardinalities)).all()
        assert (codes >= (1 if name == "train" else 0)).all(), "0 is for values that no training row has"
