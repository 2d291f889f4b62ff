"""A user's sequences: one label a sequence or a step, new sequences, errors with row and column."""

from pathlib import Path
from typing import Any

import pytest
import torch

from datamodules.ragged import SequenceSplit
from datamodules.sequence_csv import SequenceCSV
from zoo.errors import DataError

HEADER = "who,step,a,b,label"


def lines(count: int = 30, tags: bool = False) -> list[str]:
    """Interleaved sequences p0, p1, ... of 2 to 6 steps; a says sequence and step."""
    rows = [(step, who) for step in range(6) for who in range(count) if step < 2 + who % 5]
    return [f"p{who},{step},{100 * who + step},{step}.5,{'xy'[(step if tags else who) % 2]}" for step, who in rows]


def write(folder: Path, rows: list[str], header: str = HEADER, name: str = "steps.csv") -> str:
    (folder / name).write_text("\n".join([header, *rows]) + "\n")
    return str(folder / name)


def make(path: str, **options: Any) -> SequenceCSV:
    return SequenceCSV(**{"path": path, "sequence": "who", "label": "label", "step": "step", **options})


def test_rows_are_put_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make(write(tmp_path, lines()))
    assert (data.num_channels, data.num_classes, data.channels, data.classes) == (2, 2, ("a", "b"), ("x", "y"))
    data.setup("fit")
    sequences = data.sequences
    assert sequences.lengths.tolist() == [2 + who % 5 for who in range(30)]
    for who, (first, last) in enumerate(sequences.spans.tolist()):
        assert sequences.values[first : last + 1, 0].tolist() == [100 * who + step for step in range(2 + who % 5)]
    assert sequences.y.tolist() == [who % 2 for who in range(30)]
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 20, "val": 4, "test": 6}  # type: ignore[arg-type]
    assert capsys.readouterr().out.endswith(
        "steps.csv: 30 sequences of 2 to 6 steps; 2 channels: a, b; label: 2 classes\n"
    )


def test_a_class_for_every_step(tmp_path: Path) -> None:
    data = make(write(tmp_path, lines(tags=True)), kind="tagging", channels=["b"])
    data.setup("fit")
    assert data.num_channels == 1
    x, y, lengths, _ = next(iter(data.val_dataloader()))
    for row, length in enumerate(lengths.tolist()):
        assert y[row].tolist() == [step % 2 if step < length else -100 for step in range(x.shape[1])]


def test_values_of_whole_sequences(tmp_path: Path) -> None:
    rows = [line[:-1] + str(int(line[1 : line.index(",")]) / 4) for line in lines()]
    data = make(write(tmp_path, rows), kind="regression")
    data.setup("fit")
    assert data.num_targets == 1
    assert data.sequences.y.tolist() == [who / 4 for who in range(30)]


def test_new_sequences_are_scaled_as_the_network_was_trained(tmp_path: Path) -> None:
    data = make(write(tmp_path, lines()))
    data.setup("fit")
    new = write(tmp_path, ["q,7,2.5,0", "q,8,2.5,1", "r,1,2.5,2"], "who,step,b,a", "new.csv")
    grown = make(write(tmp_path, [*lines(), *["z,1,1e9,1e9,x", "z,2,1e9,1e9,x"]], name="grown.csv"), predict_path=new)
    grown.load_state_dict(data.state_dict())
    grown.setup("predict")
    split = grown.splits["predict"]
    assert isinstance(split, SequenceSplit)
    x, _, lengths, _ = next(iter(grown.predict_dataloader()))
    assert lengths.tolist() == [2, 1]
    raw = torch.tensor([[[0, 2.5], [1, 2.5]], [[2, 2.5], [0, 0]]], dtype=torch.float64)
    expected = ((raw - data.scaler.mean) / data.scaler.std).float()
    expected[1, 1] = 0
    assert torch.allclose(x, expected)


@pytest.mark.parametrize(
    ("row", "line", "message"),
    [
        (0, ",0,1,2,x", "row 2, column 'who' is empty; every row has to say what it belongs to$"),
        (30, "p0,1,5,5,y", "row 32, column 'label' is 'y', but sequence 'p0' began with 'x'; one label a sequence, or"),
        (30, "p0,0,5,5,x", r"row 32, column 'step' is '0', the time of row 2 once more; sort the rows"),
        (30, "p0,-3,5,5,x", "row 32, column 'step' is '-3', before the time of row 2; sort the rows of each series"),
        (30, "p0,1,5,,x", "row 32, column 'b' is missing .1 values in all.; fill it, or set --data.missing to forward"),
        (
            30,
            "p0,1,5,five,x",
            "row 32, column 'b' is 'five', not a finite number; correct it, or say --data.channels wi",
        ),
        (30, "p0,1,5,5,", "row 32, column 'label': the label is missing; fill it or drop the row"),
    ],
)
def test_cells_that_cannot_be_read(tmp_path: Path, row: int, line: str, message: str) -> None:
    rows = lines()
    rows[row] = line
    with pytest.raises(DataError, match=message) as caught:
        make(write(tmp_path, rows)).setup("fit")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "lable"}, r"steps.csv: no column 'lable'; there are who, step, a, b, label; did you mean label\?$"),
        ({"channels": ["c"]}, "steps.csv: no column 'c'; there are"),
        (
            {"kind": "regression"},
            "row 2, column 'label' is 'x', not a finite number; .* say --data.kind classification",
        ),
        ({"path": "none.csv"}, "no file none.csv; give the path of a CSV file with a header line"),
    ],
)
def test_arguments_that_do_not_fit_the_file(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make(**{"path": write(tmp_path, lines()), **options}).setup("fit")


def test_a_single_class(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="column 'label' has 1 classes; two are needed"):
        make(write(tmp_path, [line[:-1] + "x" for line in lines()]))
