"""A CSV file as columns of numbers and categories; every complaint names the row and the column."""

import csv
import difflib
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from datamodules.table_encoder import Table
from zoo.errors import DataError

ColumnType: TypeAlias = Literal["number", "category", "ignore"]

MISSING = {"", "?", "na", "n/a", "nan", "null", "none"}
# A column in which so many of the values are numbers is one of numbers with mistakes in it.
_MOSTLY = 0.9
_FEW_ROWS = 20
# What a spreadsheet of another country writes: 3,5 or 1.234,56 or 1,234.56.
_WITH_COMMA = re.compile(r"[-+]?\d[\d.]*,[\d.,]*\d")


class CsvColumns(NamedTuple):
    """The cells of a file as text, missing ones as the empty string.

    Attributes:
        path: where they come from.
        cells: column name -> one value for each row, in the order of the file.
        numbers: the number of each row as a spreadsheet counts, the header being row 1.
    """

    path: Path
    cells: dict[str, list[str]]
    numbers: list[int]

    @property
    def rows(self) -> int:
        """Rows below the header."""
        return len(self.numbers)

    def where(self, row: int, column: str) -> str:
        """How errors call a cell of the row with this index."""
        return f"{self.path}: row {self.numbers[row]}, column {column!r}"


def read_csv(path: Path) -> CsvColumns:
    """Read a file with a header line; commas, semicolons or tabs part the cells.

    Raises:
        DataError: no such file, no rows, a nameless or repeated column, a row of another length than the header, or a
            quote that is never closed.
    """
    if not path.is_file():
        raise DataError(f"no file {path}; give the path of a CSV file with a header line")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from None
    first_line = text.partition("\n")[0]
    delimiter = max(",;\t", key=first_line.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    filled: list[tuple[int, list[str]]] = []
    number = 0
    try:
        for number, line in enumerate(reader, 1):
            if line:
                filled.append((number, [cell.strip() for cell in line]))
    except csv.Error as error:  # a cell that runs to the end of a large file
        raise DataError(f"{path}: row {number + 1}: {error}; look for a quote that is not closed") from None
    if len(filled) < 2:
        what = "the file is empty" if not filled else "there is a header line and no row"
        raise DataError(f"{path}: {what}; a header line and at least one row are needed")
    (_, header), *rows = filled
    for place, name in enumerate(header):
        if not name or header.index(name) != place:
            raise DataError(f"{path}: row 1, column {place + 1} is {name!r}; every column needs a name of its own")
    for number, row in rows:
        if len(row) != len(header):
            raise DataError(f"{path}: row {number} has {len(row)} cells, the header has {len(header)}")
    columns = zip(*[row for _, row in rows], strict=True)
    cells = [["" if cell.lower() in MISSING else cell for cell in column] for column in columns]
    return CsvColumns(path, dict(zip(header, cells, strict=True)), [number for number, _ in rows])


def require_columns(columns: CsvColumns, names: Iterable[str]) -> None:
    """Raise DataError for the first name that is not a column; says which are near."""
    for name in names:
        if name not in columns.cells:
            near = difflib.get_close_matches(name, columns.cells, 2)
            meant = f"; did you mean {' or '.join(near)}?" if near else ""
            raise DataError(f"{columns.path}: no column {name!r}; there are {', '.join(columns.cells)}{meant}")


def infer_types(columns: CsvColumns, target: str, given: Mapping[str, ColumnType]) -> dict[str, ColumnType]:
    """What each feature is: a number where all cells are numbers, else a category; ``given`` decides before that.

    Raises:
        DataError: a name that is not a column, a number column with a cell that is none, a column without values, or
            one that looks like an identifier.
    """
    require_columns(columns, (target, *given))
    return {name: given.get(name) or _infer(columns, name) for name in columns.cells if name != target}


def to_table(columns: CsvColumns, numbers: Sequence[str], categories: Sequence[str], otherwise: str = "") -> Table:
    """The named columns, in this order; ``otherwise`` as in ``to_numbers``.

    Raises:
        DataError: a column is not there, or a cell of a number column is no finite number.
    """
    for name in (*numbers, *categories):
        if name not in columns.cells:
            raise DataError(f"{columns.path}: no column {name!r}, which the network was trained with")
    floats = [to_numbers(columns, name, otherwise) for name in numbers]
    words = [columns.cells[name] for name in categories]
    return Table(
        np.array(floats, dtype=np.float64).reshape(len(numbers), columns.rows).T,
        np.array(words, dtype=np.str_).reshape(len(categories), columns.rows).T,
    )


def to_numbers(columns: CsvColumns, name: str, otherwise: str = "") -> list[float]:
    """A column as floats, NaN where a value is missing.

    Args:
        columns: the file.
        name: the column.
        otherwise: what else than to correct the cell can be done; ends the message of the error. By default, to say
            that it is a column of categories.

    Raises:
        DataError: at the first cell that is no finite number.
    """
    values = [math.nan if cell == "" else _number(cell) for cell in columns.cells[name]]
    for row, value in enumerate(values):
        if value is None or math.isinf(value):
            what = f"{columns.where(row, name)} is {columns.cells[name][row]!r}, not a finite number"
            raise DataError(f"{what}; correct it, or {otherwise or _as_category(name)}")
    return [value for value in values if value is not None]


def holds_numbers(columns: CsvColumns, name: str, otherwise: str = "") -> bool:
    """Whether all values of a column are numbers.

    Raises:
        DataError: at the first that is none where nearly all are, or would be with a point for a comma.
    """
    present = [cell for cell in columns.cells[name] if cell]
    numbers = sum(_number(cell) is not None for cell in present)
    with_comma = [row for row, cell in enumerate(columns.cells[name]) if _WITH_COMMA.fullmatch(cell)]
    if with_comma and _MOSTLY * len(present) <= numbers + len(with_comma):
        raise DataError(
            f"{columns.where(with_comma[0], name)} is {columns.cells[name][with_comma[0]]!r}; write numbers with a"
            f" decimal point and no other separator, or {otherwise or _as_category(name)}"
        )
    if _MOSTLY * len(present) <= numbers < len(present):
        to_numbers(columns, name, otherwise)
    return numbers == len(present)


def by_value(name: str) -> tuple[bool, float, str]:
    """A key to sort by: numbers by size, then texts by the alphabet."""
    try:
        return False, float(name), name
    except ValueError:
        return True, 0.0, name


def _infer(columns: CsvColumns, name: str) -> ColumnType:
    present = [cell for cell in columns.cells[name] if cell]
    if not present:
        raise DataError(f"{columns.path}: column {name!r} has no values; leave it out with columns: {{{name}: ignore}}")
    if holds_numbers(columns, name):
        return "number"
    distinct = len(set(present))
    if len(present) >= _FEW_ROWS and distinct > len(present) / 2:
        raise DataError(
            f"{columns.path}: column {name!r} has {distinct} different texts in {len(present)} rows, as an identifier"
            f" has; leave it out with columns: {{{name}: ignore}} or keep it with columns: {{{name}: category}}"
        )
    return "category"


def _as_category(name: str) -> str:
    return f"say columns: {{{name}: category}}"


def _number(cell: str) -> float | None:
    try:
        return None if "_" in cell else float(cell)  # 1_000 is a number to Python, and to no spreadsheet
    except ValueError:
        return None
