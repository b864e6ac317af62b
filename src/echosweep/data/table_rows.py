"""Rows of a table: the cells of one record, and what makes a record untrustworthy as a whole.

Invariant: a row with more cells than columns has them shifted, and a row that ends too early was
cut: they have a fault, whatever their cells look like.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from echosweep.data.table_text import Record

MISSING_WORDS = {"", "-", "nan", "na", "n/a", "#n/a", "<na>", "none", "null"}
"""Cells that say, in any case, that there is no value."""

NUMBERS, CODES, WORDS = "numbers", "codes", "words"
"""What a column of free labels holds: numbers, numbers with leading zeros, or text."""

_PADDED = re.compile(r"[+-]?0\d")
_WHOLE = re.compile(r"(0|[1-9]\d*)(\.0+|,0)")


class TableRow:
    """One row of a table; `row["EF"]` is the cell's text, "" where it has no value.

    Attributes:
        number: The row's number in a spreadsheet: the header of most tables is row 1.
        fault: Why the row as a whole cannot be trusted, with file and row; "" if it can.
    """

    __slots__ = ("_places", "_values", "fault", "number")

    def __init__(
        self, number: int, values: Sequence[str], places: Mapping[str, int], fault: str = ""
    ) -> None:
        self.number, self.fault = number, fault
        self._values, self._places = values, places

    def __getitem__(self, column: str) -> str:
        text = self.raw(column)
        return "" if text.lower() in MISSING_WORDS else text

    def raw(self, column: str) -> str:
        """Return the text of a cell, also where it is a word for a missing value: names of files.

        Args:
            column: Its name; a column that the table has not is as good as empty.
        """
        place = self._places.get(column, len(self._values))
        return self._values[place] if place < len(self._values) else ""


def parse_number(text: str, decimal_comma: bool = False) -> float | None:
    """Return the number that `text` is, which may be infinite or NaN; None if it is none.

    Args:
        text: ASCII digits without separators of thousands.
        decimal_comma: Whether 55,5 is a number.
    """
    if decimal_comma and "." not in text:
        text = text.replace(",", ".")
    try:
        number = float(text)
    except ValueError:
        return None
    return number if text.isascii() and "_" not in text else None


def patient_text(cell: str) -> str:
    """Return a patient's identifier: "7" for "7.0", as programs write a column with a gap in it.

    Args:
        cell: A cell's text; "007" is no number and stays as it is.
    """
    whole = _WHOLE.fullmatch(cell)
    return whole[1] if whole else cell


def column_content(cells: Sequence[str], decimal_comma: bool = False) -> str:
    """Return whether a column of free labels holds `NUMBERS`, `CODES` or `WORDS`.

    Most cells of a column of numbers are numbers. Codes are digits of one width, filled with zeros:
    008, 113. Both a hash as 12e45678 and 008 are text.

    Args:
        cells: Its cells that have a value.
        decimal_comma: Whether 55,5 is a number.
    """
    padded = [cell for cell in cells if _PADDED.match(cell)]
    words = sum(is_word(cell, decimal_comma) for cell in cells)
    if padded and all(cell.isdecimal() for cell in cells):
        width = max(map(len, padded))
        if all(len(cell) >= width for cell in cells):
            return CODES
    return NUMBERS if 2 * words < len(cells) else WORDS


def is_word(cell: str, decimal_comma: bool = False) -> bool:
    """Return whether a cell is text: no number, or one with leading zeros.

    Args:
        cell: A cell that has a value.
        decimal_comma: Whether 55,5 is a number.
    """
    return parse_number(cell, decimal_comma) is None or bool(_PADDED.match(cell))


def has_decimal_commas(rows: Iterable[TableRow], columns: Sequence[str]) -> bool:
    """Return whether a table by tabs has numbers as 55,5 and none as 55.5 or, maybe, 1,234."""
    commas = False
    for row in rows:
        for column in columns:
            text = row[column]
            if re.fullmatch(r"[+-]?(\d+\.\d+|\d{1,3}(,\d{3})+)", text):
                return False
            commas = commas or bool(re.fullmatch(r"[+-]?\d+,\d+", text))
    return commas


class RowMaker:
    """Makes rows of cells, and remembers what is to be noted.

    Args:
        table: The name of the table.
        columns: The names of its columns.
        needed: Those without which a row is of no use.
        say: Gives the name of a column that may be said.
    """

    def __init__(
        self,
        table: str,
        columns: Sequence[str],
        needed: Collection[str],
        say: Callable[[str], str] = str,
    ) -> None:
        self._table, self._width, self._say = table, len(columns), say
        self._places: dict[str, int] = {}
        self._again: list[tuple[str, int]] = []
        for place, name in enumerate(columns):
            if name in self._places:
                self._again.append((name, place))
            elif name:
                self._places[name] = place
        self._needed = {name: self._places[name] for name in needed}
        self._short: list[int] = []

    def row(self, record: Record) -> TableRow:
        """Return the row of a record, with what is wrong with it as a whole."""
        cells, problem = record.cells, record.problem
        if len(cells) == self._width and not problem and not self._again:
            return TableRow(record.number, cells, self._places)
        if any(cells[self._width :]):
            problem = problem or f"has {len(cells)} cells for {self._width} columns"
            cells = cells[: self._width]
        elif len(cells) < self._width:
            self._short.append(record.number)
            lacking = [name for name, place in self._needed.items() if place >= len(cells)]
            if lacking and not problem:
                problem = f"ends before column {lacking[0]}"
        row = TableRow(record.number, cells, self._places)
        if self._again:
            row, differing = self._without_repeated(row, cells)
            problem = problem or differing
        if problem:
            row.fault = f"{self._table} row {record.number}: {problem}"
        return row

    def notes(self) -> list[str]:
        """Return notes on all rows that were made."""
        notes = []
        if self._again:
            names = ", ".join(dict.fromkeys(self._say(name) for name, _ in self._again))
            notes.append(f"{self._table} has several columns {names}: they are read as one")
        if self._short:
            notes.append(
                f"{len(self._short)} rows of {self._table} have fewer cells than columns (first: "
                f"row {self._short[0]}): cells that lack have no value"
            )
        return notes

    def _without_repeated(self, row: TableRow, cells: Sequence[str]) -> tuple[TableRow, str]:
        """Return the row with columns of one name as one, and what is wrong if they differ."""
        values, problem = list(cells), ""
        for name, place in self._again:
            again = TableRow(row.number, cells, {name: place})
            first = TableRow(row.number, values, self._places)
            if again[name] and not first[name]:
                values[self._places[name]] = again[name]
            elif again[name] and again[name] != first[name]:
                problem = (
                    f"has {first[name]!r} and {again[name]!r} in its columns {self._say(name)}"
                )
        return TableRow(row.number, values, self._places), problem
