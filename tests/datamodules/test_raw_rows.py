"""Rows are encoded as the training rows were, however they are given."""

from typing import Any

import numpy as np
import pytest
import torch

from datamodules.adult import Adult
from datamodules.diabetes import Diabetes
from datamodules.raw_rows import RawRows
from datamodules.table_encoder import Table, TableEncoder
from zoo.errors import DataError

COLUMNS = ("age", "pay", "town")
TABLE = Table(np.array([[20.0, 1.0], [30.0, np.nan], [40.0, 9.0]]), np.array([["Ulm"], ["Bonn"], ["Ulm"]]))
ROWS: list[dict[str, Any]] = [
    {"age": 20, "pay": "1", "town": "Ulm"},
    {"age": 30.0, "pay": None, "town": "Bonn"},
    {"town": "Ulm", "pay": 9, "age": "40", "id": "more than is asked for"},
]


class Frame:
    """What a data frame offers."""

    columns = COLUMNS

    def to_dict(self, orient: str) -> list[dict[str, Any]]:
        assert orient == "records"
        return ROWS


def raw_rows(scaling: Any = "quantile", categories: Any = "codes") -> tuple[RawRows, torch.Tensor]:
    encoder = TableEncoder(scaling, categories).fit(TABLE, COLUMNS)
    return RawRows.of(encoder, COLUMNS, ("no", "yes")), encoder.encode(TABLE)


@pytest.mark.parametrize("scaling", ["standard", "quantile"])
@pytest.mark.parametrize("categories", ["codes", "one_hot"])
def test_rows_are_encoded_as_in_training(scaling: str, categories: str) -> None:
    preprocessing, expected = raw_rows(scaling, categories)
    lists = [[20, 1, "Ulm"], [30, float("nan"), "Bonn"], [40, 9, "Ulm"]]
    for form in (ROWS, lists, Frame()):
        x, lengths = preprocessing(form)
        assert lengths is None
        assert torch.equal(x, expected)
    for one in (ROWS[0], lists[0], np.array(lists[0], dtype=object)):
        assert torch.equal(preprocessing(one)[0], expected[:1])


def test_a_town_that_no_training_row_has_is_an_unknown_one() -> None:
    preprocessing, _ = raw_rows()
    assert preprocessing({**ROWS[0], "town": "Oslo"})[0][0, -1] == 0
    assert preprocessing({**ROWS[0], "age": " na "})[0][0, 0] == preprocessing({**ROWS[0], "age": 30})[0][0, 0], (
        "median"
    )


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"age": 1, "pay": 2}, "row 0 has no 'town'; give it, or None"),
        ([ROWS[0], {**ROWS[1], "pay": "much"}], "row 1, 'pay': 'much' is no number"),
        ({**ROWS[0], "age": float("inf")}, "row 0, 'age' is infinite"),
        ([1, 2], "row 0 has 2 cells; the columns are age, pay, town"),
        ("a text", "rows are dictionaries"),
        ([], "rows are dictionaries"),
    ],
    ids=["absent", "word", "infinite", "short", "text", "empty"],
)
def test_what_is_no_row(raw: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        raw_rows()[0](raw)


def test_data_sets_offer_what_they_have_learned() -> None:
    data = Adult()
    data.setup("test")
    preprocessing = data.preprocessing()
    assert isinstance(preprocessing, RawRows)
    table = data.table[0].take(data.rows["test"][:50])
    rows = [[*numbers, *words] for numbers, words in zip(table.numbers.tolist(), table.categories.tolist())]
    assert torch.equal(preprocessing(rows)[0], data.splits["test"].x[:50])


def test_a_plain_table_is_standardised_by_its_training_rows() -> None:
    data = Diabetes()
    data.setup("test")
    preprocessing = data.preprocessing()
    assert preprocessing is not None
    assert len(preprocessing.outputs) == 1
    raw, _ = data.read()
    every = torch.cat([data.splits[name].x for name in ("train", "val", "test")])
    made = preprocessing(raw.numpy())[0]
    torch.testing.assert_close(made.sort(0).values, every.sort(0).values)
