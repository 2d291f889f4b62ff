"""California housing: the rows of the published table, split and encoded without a look at the test rows."""

import numpy as np
import pytest
import torch
from torch import Tensor

from datamodules.base import TensorSplit
from datamodules.california_housing import CaliforniaHousing
from datamodules.table_encoder import Table
from zoo.errors import DataError


def split(data: CaliforniaHousing, name: str) -> TensorSplit:
    data.setup("fit")
    found = data.splits[name]
    assert isinstance(found, TensorSplit)
    return found


def test_facts_without_setup() -> None:
    data = CaliforniaHousing()
    assert (data.in_features, data.num_numerical, data.cardinalities, data.num_targets) == (8, 8, [], 1)
    with pytest.raises(DataError, match="which CaliforniaHousing does not have: its targets are not classes"):
        _ = data.num_classes


def test_rows_are_the_published_ones() -> None:
    table, y = CaliforniaHousing().table
    assert table.numbers.shape == (20640, 8)
    # Mean and deviation of the target, and the first row, as scikit-learn's documentation of the table has them.
    assert (float(y.mean()), float(y.std())) == pytest.approx((2.06856, 1.15396), abs=1e-4)
    assert table.numbers[0].tolist() == pytest.approx(
        [8.3252, 41, 6.98412698, 1.02380952, 322, 2.55555556, 37.88, -122.23]
    )
    assert float(y[0]) == pytest.approx(4.526)


def test_splits_part_the_rows() -> None:
    data, same, other = CaliforniaHousing(), CaliforniaHousing(), CaliforniaHousing(split_seed=1)
    rows = data.rows
    assert [len(rows[name]) for name in ("train", "val", "test")] == [13210, 3302, 4128]
    assert torch.equal(torch.cat(list(rows.values())).sort().values, torch.arange(20640))
    assert torch.equal(rows["test"], same.rows["test"])
    assert not torch.equal(rows["test"], other.rows["test"])
    assert torch.equal(split(data, "test").y, data.table[1][rows["test"]])


@pytest.mark.parametrize("scaling", ["standard", "quantile"])
def test_the_scale_is_that_of_the_training_rows(scaling: str) -> None:
    class Changed(CaliforniaHousing):
        def read_table(self) -> tuple[Table, Tensor]:
            table, y = super().read_table()
            rows = torch.cat([self.part(y)["val"], self.part(y)["test"]]).numpy()
            table.numbers[rows] = 1e6 - 5 * table.numbers[rows]
            return table, y

    data, changed = CaliforniaHousing(scaling=scaling), Changed(scaling=scaling)  # type: ignore[arg-type]
    assert torch.equal(split(data, "train").x, split(changed, "train").x)
    assert not torch.equal(split(data, "test").x, split(changed, "test").x)
    x = split(data, "train").x.double()
    assert x.mean(0).abs().max() < 0.01
    assert (x.std(0) - 1).abs().max() < 0.02
    assert torch.equal(data.train_inputs, split(data, "train").x)


def test_infinite_numbers_are_named() -> None:
    class Broken(CaliforniaHousing):
        def read_table(self) -> tuple[Table, Tensor]:
            table, y = super().read_table()
            table.numbers[17, 2] = np.inf
            return table, y

    with pytest.raises(DataError, match=r"^Broken: sample 17 is infinite at 2; remove it or fill the gap$"):
        Broken().setup("fit")
