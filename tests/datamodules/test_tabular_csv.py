"""A user's CSV: types, errors with row and column, and new rows encoded as the network was trained."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import seed_everything

from datamodules.base import TensorSplit
from datamodules.tabular_csv import TabularCSV
from tests.tools import quiet_trainer
from zoo.errors import DataError
from zoo.tabular import TabularMLP
from zoo.task import Classification, Regression

HEADER = "age,city,income,bought"
CITIES = ["Bern", "Rome", "Oslo"]


def lines(count: int = 60) -> list[str]:
    return [f"{20 + i % 37},{CITIES[i % 3]},{1000 + 7 * i}.5,{'yes' if i % 4 else 'no'}" for i in range(count)]


def write(path: Path, rows: list[str], header: str = HEADER) -> str:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture
def file(tmp_path: Path) -> str:
    return write(tmp_path / "people.csv", lines())


def x_of(data: TabularCSV, split: str) -> torch.Tensor:
    found = data.splits[split]
    assert isinstance(found, TensorSplit)
    return found.x


def test_facts_without_setup_and_types_that_are_shown(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    data = TabularCSV(file, "bought")
    assert (data.features, data.classes) == (("age", "income", "city"), ("no", "yes"))
    assert (data.in_features, data.num_numerical, data.cardinalities, data.num_classes) == (3, 2, [4], 2)
    data.setup("fit")
    assert [len(data.splits[name]) for name in ("train", "val", "test")] == [39, 9, 12]  # type: ignore[arg-type]
    shown = capsys.readouterr().out
    assert shown.count("\n") == 1
    assert "people.csv: 60 rows; 2 numbers: age, income; 1 categories: city (3 values);" in shown
    assert "target bought: 2 classes (no, yes); --data.columns and --data.kind change this" in shown


@pytest.mark.parametrize(
    ("target", "kind", "expected"),
    [
        ("income", "auto", "regression"),
        ("age", "auto", "regression"),
        ("city", "auto", "classification"),
        ("age", "classification", "classification"),
    ],
)
def test_kind(tmp_path: Path, target: str, kind: Any, expected: str) -> None:
    data = TabularCSV(write(tmp_path / "people.csv", lines(120)), target, kind)
    assert bool(data.classes) == (expected == "classification")
    assert data.targets == ((target,) if expected == "regression" else ())


def test_few_whole_numbers_are_classes_in_their_order(tmp_path: Path) -> None:
    data = TabularCSV(write(tmp_path / "a.csv", [f"{i},{(2, 10, 1)[i % 3]}" for i in range(30)], "x,y"), "y")
    assert data.classes == ("1", "2", "10")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_spellings_of_the_same_table(tmp_path: Path, delimiter: str) -> None:
    text = "\n".join([HEADER, *lines()]).replace(",", delimiter)
    (tmp_path / "other.csv").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    first, second = (
        TabularCSV(write(tmp_path / "a.csv", lines()), "bought"),
        TabularCSV(str(tmp_path / "other.csv"), "bought"),
    )
    for data in (first, second):
        data.setup("fit")
    assert torch.equal(x_of(first, "train"), x_of(second, "train"))


def test_quoted_cells_and_missing_values(tmp_path: Path) -> None:
    rows = lines()
    rows[0], rows[1], rows[2] = '21,"Bern, old town",1.5,yes', " ? ,NA,,no", "23,null,3.5,yes"
    data = TabularCSV(write(tmp_path / "a.csv", rows), "bought", columns={"income": "number"})
    table, _ = data.table
    assert table.categories[:3, 0].tolist() == ["Bern, old town", "", ""]
    assert table.numbers[1, :2].tolist() == pytest.approx([float("nan")] * 2, nan_ok=True)
    data.setup("fit")


@pytest.mark.parametrize(
    ("row", "line", "message"),
    [
        (6, "31,Bern,12x,yes", r"people.csv: row 8, column 'income' is '12x', not a finite number; correct it, or say"
         r" columns: \{income: category\}$"),
        (0, "31,Bern,inf,yes", "people.csv: row 2, column 'income' is 'inf', not a finite number"),
        (3, "31,Bern,5", "people.csv: row 5 has 3 cells, the header has 4$"),
        (9, "31,Bern,5,", "people.csv: row 11, column 'bought': the target is missing; fill it or drop the row$"),
    ],
)  # fmt: skip
def test_cells_that_cannot_be_read(tmp_path: Path, row: int, line: str, message: str) -> None:
    rows = lines()
    rows[row] = line
    with pytest.raises(DataError, match=message) as caught:
        TabularCSV(write(tmp_path / "people.csv", rows), "bought").setup("fit")
    assert "\n" not in str(caught.value)


def test_rows_are_counted_with_empty_lines_and_line_breaks_in_cells(tmp_path: Path) -> None:
    rows = ["", '31,"Bern\nold town",5,yes', *lines(), "31,Bern,5"]
    with pytest.raises(DataError, match="row 64 has 3 cells"):
        TabularCSV(write(tmp_path / "people.csv", rows), "bought")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"target": "bougt"},
            r"people.csv: no column 'bougt'; there are age, city, income, bought; did you mean bought\?$",
        ),
        ({"columns": {"zip": "ignore"}}, "people.csv: no column 'zip'; there are"),
        ({"columns": {"city": "number"}}, "people.csv: row 2, column 'city' is 'Bern', not a finite number"),
        ({"columns": {"age": "ignore", "city": "ignore", "income": "ignore"}}, "no column is left to predict 'bought'"),
        (
            {"kind": "regression"},
            "row 2, column 'bought' is 'no', not a finite number; .* or say kind: classification$",
        ),
    ],
)
def test_arguments_that_do_not_fit_the_file(file: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        TabularCSV(**{"path": file, "target": "bought", **arguments}).setup("fit")


def test_a_column_that_says_the_target_may_be_kept(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", [f"{i},{i}" for i in range(20)], "x,y")
    assert TabularCSV(file, "y", columns={"x": "number"}).features == ("x",)


def test_a_number_with_an_underscore_is_a_text(tmp_path: Path) -> None:
    assert TabularCSV(write(tmp_path / "a.csv", [f"{i % 3}_0,{i}" for i in range(20)], "x,y"), "y").words == ["x"]


def test_a_column_without_values_among_the_training_rows_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", [f"{i},,{i / 2}" for i in range(20)], "x,late,y")
    train = TabularCSV(file, "y", columns={"late": "number"}).rows["train"].tolist()
    seen = next(row for row in range(20) if row not in train)
    rows = [f"{i},{7 if i == seen else ''},{i / 2}" for i in range(20)]
    with pytest.raises(DataError, match=r"^number column 'late' has no value in any training row; leave it out$"):
        TabularCSV(write(tmp_path / "a.csv", rows, "x,late,y"), "y").setup("fit")


def test_what_is_new_at_prediction_is_told(tmp_path: Path, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    module, checkpoint = fit(TabularCSV(file, "bought", batch_size=16), tmp_path)
    new = write(tmp_path / "new.csv", ["40,Rome,1", "40,Atlantis,2", "41,Mu,3"], "age,city,income")
    capsys.readouterr()
    later = TabularCSV(file, "bought", predict_path=new)
    assert quiet_trainer(tmp_path).predict(module, later, ckpt_path=checkpoint, weights_only=True)
    told = [line for line in capsys.readouterr().out.splitlines() if "new.csv" in line]
    assert len(told) == 1
    assert told[0].endswith(
        "new.csv: row 3, column 'city' is 'Atlantis', which no training row has (2 such rows in all); it is predicted"
        " as an unknown category"
    )
    bad = write(tmp_path / "bad.csv", ["forty,Rome,1"], "age,city,income")
    with pytest.raises(
        DataError, match=r"bad.csv: row 2, column 'age' is 'forty', not .*; correct it, or leave it empty, as a missing"
    ):
        TabularCSV(file, "bought", predict_path=bad).setup("predict")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x.csv: the file is empty; a header line and at least one row are needed$"),
        ("\n\n", "x.csv: the file is empty"),
        ("a,b\n", "x.csv: there is a header line and no row; a header line and at least one row are needed$"),
        ("a,a\n1,2\n", "row 1, column 2 is 'a'; every column needs a name of its own"),
        ("a,\n1,2\n", "row 1, column 2 is ''; every column needs a name of its own"),
        ("a,b\n,1\n,2\n", r"column 'a' has no values; leave it out with columns: \{a: ignore\}"),
        ("a,b\n1,x\n2,x\n", "x.csv: column 'b' is 'x' in every row; nothing can be learned$"),
        ("a,b\n1,7.5\n2,7.5\n", "x.csv: column 'b' is '7.5' in every row; nothing can be learned$"),
        (
            "a,b\n" + "".join(f"{i},{i % 2}\n" for i in range(20)) + "3,2\n",
            r"row 22, column 'b' is '2', a class of 1 row \(of 3 classes\); train, val and test need one each: drop or",
        ),
        (
            "a,c,b\n" + "".join(f"{i},{i}.5,{i}.5\n" for i in range(20)),
            r"column 'c' says in every row what the target 'b' says; leave it out with columns: \{c: ignore\} or keep",
        ),
        (
            "a;b\n" + "".join(f"{i},5;{i % 2}\n" for i in range(20)),
            r"row 2, column 'a' is '0,5'; write numbers with a decimal point and no other separator, or say columns: "
            r"\{a: category\}$",
        ),
        (
            "a;b\n" + "".join(f"{i};{i}.000,25\n" for i in range(20)),
            "row 2, column 'b' is '0.000,25'; write numbers with a decimal point .* or say kind: classification$",
        ),
        ('a,b\n1,"x\n' + "2,y\n" * 40000, r"row 2: field larger than .*; look for a quote that is not closed$"),
        (
            "id,b\n" + "".join(f"p{i},{i % 2}\n" for i in range(40)),
            "column 'id' has 40 different texts in 40 rows, as an",
        ),
    ],
)
def test_files_that_are_no_table(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        TabularCSV(str(tmp_path / "x.csv"), "b")


def test_no_file_and_another_encoding(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^no file .*none.csv; give the path of a CSV file with a header line$"):
        TabularCSV(str(tmp_path / "none.csv"), "b")
    (tmp_path / "x.csv").write_bytes("a,b\n1,Zürich\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"x.csv: byte 7 is not UTF-8; save the file as UTF-8$"):
        TabularCSV(str(tmp_path / "x.csv"), "b")


def fit(data: TabularCSV, folder: Path) -> tuple[TabularMLP, str]:
    seed_everything(0, verbose=False)
    module = TabularMLP(data.in_features, Classification(2), data.cardinalities, hidden=[8], resolution=4)
    trainer = quiet_trainer(folder, max_epochs=2)
    trainer.fit(module, datamodule=data)
    trainer.save_checkpoint(folder / "a.ckpt")
    return module, str(folder / "a.ckpt")


def test_new_rows_are_encoded_as_the_network_was_trained(tmp_path: Path, file: str) -> None:
    data = TabularCSV(file, "bought", batch_size=16)
    module, checkpoint = fit(data, tmp_path)
    # Other columns first, no target, a city that was never seen, values that are missing.
    new = write(tmp_path / "new.csv", ["2000.5,Rome,40", ",Atlantis,30", "1e9,,"], "income,city,age")
    # The training file has changed meanwhile; what was learned from the old one travels in the checkpoint.
    grown = write(tmp_path / "grown.csv", [*lines(), *[f"{90 + i},Rome,{9e6 + i},yes" for i in range(60)]])
    later = TabularCSV(grown, "bought", predict_path=new)
    predictions = quiet_trainer(tmp_path).predict(module, later, ckpt_path=checkpoint, weights_only=True)
    assert predictions is not None
    assert torch.cat(predictions).shape == (3, 2)  # type: ignore[arg-type]
    x = x_of(later, "predict")
    assert x[:, 2].tolist() == [1 + sorted(CITIES).index("Rome"), 0, 0]
    assert x[1, 1] == 0, "a missing income is the training median"
    assert x[2, 1] == x_of(data, "train")[:, 1].max()
    assert torch.equal(torch.cat(predictions), module.task.decode(module.eval()(x)))  # type: ignore[arg-type]


def test_another_table_is_refused(tmp_path: Path, file: str) -> None:
    module, checkpoint = fit(TabularCSV(file, "bought", batch_size=16), tmp_path)
    other = write(tmp_path / "other.csv", lines(), "years,city,income,bought")
    with pytest.raises(
        DataError, match=r"the checkpoint has the features age, income, city; this table has years, income"
    ):
        quiet_trainer(tmp_path).test(module, TabularCSV(other, "bought"), ckpt_path=checkpoint, weights_only=True)
    new = write(tmp_path / "new.csv", ["1,Bern"], "age,city")
    with pytest.raises(DataError, match=r"new.csv: no column 'income', which the network was trained with$"):
        TabularCSV(file, "bought", predict_path=new).setup("predict")


def test_a_run_that_goes_on_encodes_as_before(tmp_path: Path, file: str) -> None:
    data = TabularCSV(file, "bought", batch_size=16)
    _, checkpoint = fit(data, tmp_path)
    again = TabularCSV(file, "bought", batch_size=16)
    module = TabularMLP(data.in_features, Classification(2), data.cardinalities, hidden=[8], resolution=4)
    trainer = quiet_trainer(tmp_path, max_epochs=3)
    trainer.fit(module, datamodule=again, ckpt_path=checkpoint, weights_only=True)
    assert trainer.current_epoch == 3
    assert torch.equal(x_of(again, "train"), x_of(data, "train"))


def test_regression(tmp_path: Path, file: str) -> None:
    data = TabularCSV(file, "income", batch_size=16)
    module = TabularMLP(data.in_features, Regression(data.num_targets), data.cardinalities, hidden=[8])
    trainer = quiet_trainer(tmp_path)
    trainer.fit(module, datamodule=data)
    assert float(module.task.mean) == pytest.approx(float(data.train_targets.mean()))  # type: ignore[union-attr]
