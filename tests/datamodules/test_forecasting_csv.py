"""A user's series: wide and long form, splits by time, gaps, forecasts beyond the end, errors with row and column."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from datamodules.base import TensorSplit
from datamodules.forecasting_csv import ForecastingCSV
from tests.tools import quiet_trainer
from zoo.batch import as_batch
from zoo.errors import DataError


def wide(rows: int = 100) -> list[str]:
    return ["day,sales,price", *[f"2024-{1 + i // 28:02}-{1 + i % 28:02},{i},{i % 10}" for i in range(rows)]]


def long(series: dict[str, range]) -> list[str]:
    """One line a (series, hour), the series interleaved; the value says both."""
    hours = sorted({hour for hours in series.values() for hour in hours})
    lines = [f"{name},{hour},{1000 * place + hour}" for hour in hours for place, name in enumerate(series)
             if hour in series[name]]  # fmt: skip
    return ["shop,hour,sales", *lines]


def write(folder: Path, lines: list[str], name: str = "sales.csv") -> str:
    (folder / name).write_text("\n".join(lines) + "\n")
    return str(folder / name)


def small(path: str, **options: Any) -> ForecastingCSV:
    return ForecastingCSV(**{"path": path, "targets": ["sales"], "window": 6, "horizon": 2, **options})


def y_of(data: ForecastingCSV, name: str) -> Tensor:
    split = data.splits[name]
    return split[torch.arange(len(split))][1]  # type: ignore[arg-type, no-any-return]


def test_wide_form_with_a_covariate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = small(write(tmp_path, wide()), time="day", covariates=["price"], calendar=True)
    assert (data.num_channels, data.num_targets, data.window, data.horizon) == (5, 1, 6, 2)
    data.setup("fit")
    x, y, _ = data.splits["train"][torch.tensor([3])]
    assert x[0, :, 0].tolist() == list(range(3, 9))
    assert y[0, :, 0].tolist() == [9, 10]
    price = torch.arange(70.0) % 10
    assert torch.allclose(x[0, :, 1], ((price - price.mean()) / price.std(correction=0))[3:9])
    # 4 January 2024 was a Thursday.
    assert x[0, 0, 2:].tolist() == pytest.approx([0.0, 3 / 30 - 0.5, 3 / 365 - 0.5], abs=1e-6)
    assert torch.equal(data.train_targets, torch.arange(70.0)[:, None])
    assert [int(y_of(data, name).min()) for name in ("train", "val", "test")] == [6, 70, 80]
    assert [int(y_of(data, name).max()) for name in ("train", "val", "test")] == [69, 79, 99]
    shown = capsys.readouterr().out
    assert (
        "sales.csv: 100 rows, 1 series; train, val and test have 70, 10, 20 rows; --data.shares changes this" in shown
    )
    assert "3 of 99 steps of time are not the usual one" in shown  # months have more days than 28


def test_long_form_is_cut_at_the_same_times(tmp_path: Path) -> None:
    data = small(write(tmp_path, long({"a": range(100), "b": range(30, 100)})), time="hour", series="shop", gap=1)
    data.setup("fit")
    assert data.part_rows("train").tolist() == [[0, 69], [100, 139]]
    for name, low, high in (("train", 0, 70), ("val", 70, 80), ("test", 80, 100)):
        y = y_of(data, name)
        assert {int(v) // 1000 for v in y.flatten()} == {0, 1}
        assert (y // 1000 == y[:, :1] // 1000).all(), "no window crosses the end of a series"
        hours = y % 1000
        assert int(hours.min()) >= low
        assert int(hours.max()) == high - 1
    x, y, _ = data.splits["val"][torch.tensor([0])]
    assert x[0, :, 0].tolist() == list(range(63, 69))
    assert y[0, :, 0].tolist() == [70, 71]


def test_without_a_time_column_each_series_is_cut_by_its_rows(tmp_path: Path) -> None:
    data = small(write(tmp_path, long({"a": range(100), "b": range(50)})), series="shop", shares=(0.5, 0.25, 0.25))
    data.setup("fit")
    assert data.series.borders.tolist() == [[0, 50, 75, 100], [100, 125, 138, 150]]


def test_stride_is_for_training_alone(tmp_path: Path) -> None:
    data = small(write(tmp_path, wide()), stride=5)
    data.setup("fit")
    assert data.input_rows("train")[:, 0].tolist() == list(range(0, 63, 5))
    assert data.input_rows("test")[:, 0].diff().eq(1).all()


def test_what_is_not_train_changes_neither_scaler_nor_training_batches(tmp_path: Path) -> None:
    lines = wide()
    wild = [*lines[:71], *[f"{line.split(',')[0]},1e9,-1e9" for line in lines[71:]]]
    first, second = (
        small(write(tmp_path, made, name), time="day", covariates=["price"])
        for made, name in ((lines, "a.csv"), (wild, "b.csv"))
    )
    for data in (first, second):
        data.setup("fit")
    assert first.fitted_rows.tolist() == [[0, 69]]
    assert torch.equal(first.scaler.mean, second.scaler.mean)
    assert torch.equal(first.train_targets, second.train_targets)
    batches = zip(first.train_dataloader(), second.train_dataloader(), strict=True)
    assert all(torch.equal(ours, theirs) for one, two in batches for ours, theirs in zip(one, two))


def test_missing_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = wide()
    lines[11], lines[31] = "2024-01-11,?,1", "2024-02-03,30,"
    path = write(tmp_path, lines)
    with pytest.raises(DataError) as caught:
        small(path, covariates=["price"]).setup("fit")
    assert str(caught.value) == (
        f"{path}: row 12, column 'sales' is missing (2 values in all); fill it, or set --data.missing to forward, zero"
        " or mean"
    )
    data = small(path, covariates=["price"], missing="forward")
    data.setup("fit")
    assert "ForecastingCSV: 2 of 200 values are missing, and filled in inputs (forward)" in capsys.readouterr().out
    targets = data.target_rows("train")
    assert not ((targets[:, 0] <= 10) & (targets[:, 1] >= 10)).any(), "a window with a made up target is left out"
    assert len(targets) == 63 - 2
    inputs = data.input_rows("train")[:, 0].tolist()
    x, _, _ = data.splits["train"][torch.tensor([inputs.index(9), inputs.index(27)])]
    assert x[0, :2, 0].tolist() == [9, 9]
    assert x[1, 2, 1] == x[1, 3, 1]


class LastValue(LightningModule):
    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        batch = as_batch(batch)
        return batch.x[:, -1:, :1].expand_as(batch.y)  # type: ignore[no-any-return]


def test_forecast_beyond_the_end(tmp_path: Path) -> None:
    path = write(tmp_path, long({"a": range(100), "b": range(100)}))
    new = write(tmp_path, long({"c": range(5, 20), "d": range(9, 15)}), "new.csv")
    data = small(path, time="hour", series="shop", predict_path=new)
    (found,) = quiet_trainer().predict(LastValue(), data)  # type: ignore[misc]
    assert found[:, :, 0].tolist() == [[19, 19], [1014, 1014]]  # type: ignore[call-overload]
    assert isinstance(data.splits["predict"], TensorSplit)
    short = write(tmp_path, long({"c": range(5)}), "short.csv")
    with pytest.raises(DataError, match=r"short.csv: series c has 5 rows, a window has 6$"):
        small(path, time="hour", series="shop", predict_path=short).setup("predict")


@pytest.mark.parametrize(
    ("row", "line", "message"),
    [
        (5, "2024-01-04,1,2", r"row 6, column 'day' is '2024-01-04', the time of row 5 once more; sort"),
        (5, "2023-01-04,1,2", r"row 6, column 'day' is '2023-01-04', before the time of row 5; sort the rows of each"),
        (5, "tomorrow,1,2", r"row 6, column 'day' is 'tomorrow', not a time such as 2016-07-01 15:00:00"),
        (5, ",1,2", r"row 6, column 'day' is '', not a time"),
        (7, "2024-01-07,many,2", r"row 8, column 'sales' is 'many', not a finite number; correct it, or say"),
    ],
)
def test_cells_that_cannot_be_read(tmp_path: Path, row: int, line: str, message: str) -> None:
    lines = wide()
    lines[row] = line
    with pytest.raises(DataError, match=message) as caught:
        small(write(tmp_path, lines), time="day").setup("fit")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"targets": ["sale"]}, r"sales.csv: no column 'sale'; there are day, sales, price; did you mean sales\?$"),
        ({"time": "date"}, r"sales.csv: no column 'date'; there are day, sales, price"),
        ({"horizon": 0}, "ForecastingCSV: horizon must be at least 1, got 0"),
        ({"targets": []}, "have to be different columns, one at least"),
        ({"covariates": ["sales"]}, "have to be different columns, one at least"),
        ({"shares": (0.5, 0.5, 0.5)}, r"shares have to be positive and add up to 1, got \[0.5, 0.5, 0.5\]"),
        (
            {"window": 90},
            r"ForecastingCSV train: series sales.csv has 70 rows for targets and 70 in all; a window of 90",
        ),
        (
            {"horizon": 11},
            r"ForecastingCSV val: series sales.csv has 10 rows for targets and 80 in all; .* need 11 and",
        ),
        ({"calendar": True}, "calendar features need the time of each row"),
    ],
)
def test_arguments_that_do_not_fit_the_file(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        small(write(tmp_path, wide()), **options).setup("fit")


def test_other_columns_than_the_checkpoint_has(tmp_path: Path) -> None:
    path = write(tmp_path, wide())
    data, other = small(path), small(path, targets=["price"])
    for module in (data, other):
        module.setup("fit")
    with pytest.raises(DataError, match="the checkpoint has the targets sales; these data have price"):
        other.load_state_dict(data.state_dict())
