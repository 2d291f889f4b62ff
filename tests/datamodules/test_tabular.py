import pytest
import torch
from torch import Tensor

from datamodules.base import TensorSplit
from datamodules.tabular import TabularDataModule, train_statistics
from zoo.errors import DataError


class Table(TabularDataModule):
    features = ("a", "b")
    classes: tuple[str, ...] = ("no", "yes")

    def __init__(self, x: Tensor, y: Tensor, split_seed: int = 0) -> None:
        super().__init__(split_seed=split_seed)
        self.x, self.y = x, y

    def read(self) -> tuple[Tensor, Tensor]:
        return self.x.clone(), self.y.clone()


class Values(Table):
    classes = ()
    targets = ("value",)


def table(rows: int = 100) -> tuple[Tensor, Tensor]:
    x = torch.randn(rows, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 5 + 3
    return x, (torch.arange(rows) < rows // 4).long()


def splits(data: TabularDataModule) -> list[TensorSplit]:
    data.setup("fit")
    return [split for split in data.splits.values() if isinstance(split, TensorSplit)]


def test_facts() -> None:
    x, y = table()
    data, values = Table(x, y), Values(x, y.double())
    assert (data.in_features, data.num_classes, values.num_targets) == (2, 2, 1)
    with pytest.raises(DataError, match="asks for num_targets, which Table does not have: its targets are classes"):
        _ = data.num_targets
    with pytest.raises(DataError, match="asks for num_classes, which Values does not have"):
        _ = values.num_classes


@pytest.mark.parametrize("kind", [Table, Values])
def test_rows_are_parted(kind: type[Table]) -> None:
    x, y = table()
    y = y if kind is Table else torch.arange(100.0, dtype=torch.float64)
    train, val, test = splits(kind(x, y))
    assert [len(train), len(val), len(test)] == [64, 16, 20]
    if kind is Table:
        assert [int(split.y.sum()) for split in (train, val, test)] == [16, 4, 5]
    else:
        assert sorted(torch.cat([train.y, val.y, test.y]).tolist()) == list(range(100)), "targets in their own units"
        assert train.y.dtype == torch.float32


def test_statistics_are_those_of_the_training_rows_alone() -> None:
    x, _ = table()
    number = torch.arange(100.0, dtype=torch.float64)
    train, val, test = splits(Values(x, number))
    rows = train.y.long()
    expected = (x[rows] - x[rows].mean(0)) / x[rows].var(0, correction=0).sqrt()
    assert torch.allclose(train.x.double(), expected, atol=1e-6)

    changed = x.clone()
    changed[val.y.long()] = 1e6
    changed[test.y.long()] *= -1000
    again = splits(Values(changed, number))
    assert torch.equal(again[0].x, train.x)
    assert torch.equal(again[0].y, train.y)
    changed[rows[0]] += 1
    assert not torch.equal(splits(Values(changed, number))[0].x, train.x)


def test_split_seed_decides() -> None:
    x, y = table()
    first, again, other = (splits(Table(x, y, split_seed=seed)) for seed in (0, 0, 1))
    for a, b, c in zip(first, again, other, strict=True):
        assert torch.equal(a.x, b.x)
        assert not torch.equal(a.x, c.x)


def test_constant_column_is_only_shifted() -> None:
    x = torch.tensor([[1.0, 7.0], [3.0, 7.0]])
    mean, std = train_statistics(x)
    assert mean.tolist() == [2, 7]
    assert std.tolist() == [1, 1]


def test_bad_rows_are_named_by_their_place_in_the_table() -> None:
    x, y = table()
    x[42, 1] = torch.nan
    with pytest.raises(DataError, match=r"^Table: sample 42 is nan at \(1,\) \(1 such samples in all\)"):
        Table(x, y).setup("fit")
    x, y = table()
    y[17] = 2
    with pytest.raises(DataError, match=r"^Table: sample 17 has label 2, outside 0..1"):
        Table(x, y).setup("fit")
    values = y.double()
    values[5] = torch.inf
    with pytest.raises(DataError, match=r"^Values: the target of sample 5 is NaN or infinite"):
        Values(x, values).setup("fit")
    with pytest.raises(DataError, match=r"^Table: the split is empty"):
        Table(x[:0], y[:0]).setup("fit")
