"""ETT: the splits of the literature on files of the same form, and on the real ones where they are."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules import ett
from datamodules.ett import ETTh1, ETTm1
from datamodules.forecasting import ForecastingDataModule
from zoo.errors import DataError

HEADER = "date,HUFL,HULL,MUFL,MULL,LUFL,LULL,OT"


def write(root: Path, name: str = "ETTh1", rows: int = 14_500, minutes: int = 60) -> str:
    times = np.datetime64("2016-07-01T00:00:00") + np.arange(rows) * np.timedelta64(minutes, "m")
    lines = [
        f"{str(time).replace('T', ' ')},{i},{-i},{i % 24},0.5,1,{i / 7:.4f},{i % 9}" for i, time in enumerate(times)
    ]
    (root / "ett").mkdir(exist_ok=True)
    (root / "ett" / f"{name}.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    return str(root)


def sizes(data: ForecastingDataModule) -> dict[str, int]:
    return {name: len(split) for name, split in data.splits.items()}  # type: ignore[arg-type]


def test_facts_without_files(tmp_path: Path) -> None:
    data = ETTh1(str(tmp_path), window=48, horizon=24)
    assert (data.num_channels, data.num_targets, data.window, data.horizon) == (7, 7, 48, 24)
    with pytest.raises(DataError, match="asks for num_classes, which ETTh1 does not have"):
        _ = data.num_classes


def test_windows_of_the_literature(tmp_path: Path) -> None:
    data = ETTh1(write(tmp_path), calendar=True)
    data.setup("fit")
    assert sizes(data) == {"train": 8640 - 191, "val": 2785, "test": 2785}
    assert data.num_channels == 11
    x, y, _ = data.splits["test"][torch.tensor([0, 2784])]
    assert x.shape == (2, 96, 11)
    assert y.shape == (2, 96, 7)
    # The first channel counts the rows: the first test window reaches back 96 rows into val, the last ends with test.
    assert x[0, :, 0].tolist() == list(range(11_520 - 96, 11_520))
    assert y[0, :, 0].tolist() == list(range(11_520, 11_616))
    assert int(y[1, -1, 0]) == 14_399
    # 2017-10-24 00:00 was a Tuesday, the 24th of the month and the 297th day of the year.
    assert x[0, 0, 7:].tolist() == pytest.approx([-0.5, 4 / 6 - 0.5, 19 / 30 - 0.5, 292 / 365 - 0.5], abs=1e-6)


def test_nothing_of_val_and_test_is_seen_in_training(tmp_path: Path) -> None:
    data = ETTh1(write(tmp_path), window=30, horizon=20, gap=5)
    data.setup("fit")
    assert data.fitted_rows.tolist() == data.part_rows("train").tolist() == [[0, 8639]]
    assert len(data.train_targets) == 8640
    last = -1
    for name in ("train", "val", "test"):
        rows = data.target_rows(name)
        assert int(rows.min()) > last
        last = int(rows.max())
        ((low, high),) = data.part_rows(name).tolist()
        assert (int(rows.min()), last) == (low + (35 if name == "train" else 0), high)


def test_minutes_are_a_feature_of_quarter_hours(tmp_path: Path) -> None:
    data = ETTm1(write(tmp_path, "ETTm1", 57_600, 15), window=8, horizon=4, calendar=True)
    data.setup("fit")
    assert data.num_channels == 12
    assert sizes(data) == {"train": 34_560 - 11, "val": 11_517, "test": 11_517}
    x, _, _ = data.splits["train"][torch.tensor([0])]
    assert x[0, :5, 7].tolist() == pytest.approx([m / 59 - 0.5 for m in (0, 15, 30, 45, 0)], abs=1e-6)


@pytest.mark.parametrize(("kind", "windows"), [(ETTh1, (8449, 2785, 2785)), (ETTm1, (34_369, 11_425, 11_425))])
def test_real_files(kind: type[ETTh1], windows: tuple[int, ...], real_root: Callable[[str], str]) -> None:
    data = kind(real_root(f"ett/{kind.__name__}.csv"))
    data.setup("fit")
    assert tuple(sizes(data).values()) == windows
    assert data.train_targets[0].tolist() == pytest.approx([5.827, 2.009, 1.599, 0.462, 4.203, 1.34, 30.531], abs=1e-3)


def test_download_is_checked(served: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, address = served
    (folder / "ETTh1.csv").write_text("something else")
    monkeypatch.setattr(ett, "_SOURCE", address.rstrip("/"))
    data = ETTh1(str(tmp_path / "fresh"))
    with pytest.raises(
        DataError, match=r"ETTh1: ETTh1.csv not found in .*fresh/ett and the download failed \(invalid ha"
    ):
        data.prepare_data()
    assert not data.files()[0].exists()


def test_damaged_files_are_named(tmp_path: Path) -> None:
    root = write(tmp_path, rows=200)
    with pytest.raises(DataError, match=r"ETTh1: cannot read .*ETTh1.csv \(200 rows, of which 20 months have 14,400\)"):
        ETTh1(root).setup("fit")
    (tmp_path / "ett" / "ETTh1.csv").write_text("date,OT\n2016-07-01,1\n")
    with pytest.raises(DataError, match="there is no column HUFL"):
        ETTh1(root).setup("fit")
    with pytest.raises(
        DataError, match=r"ETTm1.csv not found in .* and nothing was downloaded: call prepare_data\(\) f"
    ):
        ETTm1(root).setup("fit")


def test_a_window_that_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        ETTh1(write(tmp_path), window=8_000, horizon=3_000).setup("fit")
    assert str(caught.value) == (
        "ETTh1 train: series ETTh1 has 8640 rows for targets and 8640 in all; a window of 8000, a gap of 0 and a"
        " horizon of 3000 need 3000 and 11000; lower --data.window or --data.horizon"
    )
    with pytest.raises(DataError, match="ETTh1: horizon must be at least 1, got 0"):
        ETTh1(horizon=0)
