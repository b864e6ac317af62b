"""What the cells of a table mean: numbers, splits, labels; and rows that contradict each other.

Invariant: an odd cell is the fault of its own record, with file, row and column in words; no cell
is ever read as the nearest value or split.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from echosweep.data.source import Broken
from echosweep.data.split_words import split_of
from echosweep.data.table_rows import NUMBERS, TableRow, column_content, is_word, parse_number


class WrongRow(Broken):
    """One record that cannot be used; its text is the fault of that record alone."""


@dataclass(frozen=True)
class Table:
    """The rows of a file, and how it was read.

    Attributes:
        path: The file.
        columns: The names of its columns, in order, those asked for by the name asked for.
        rows: Its rows that are not empty.
        delimiter: What stands between its cells: a comma, a semicolon or a tab.
        decimal_comma: Whether 55,5 is a number in it.
        notes: What was odd about the file as a whole, each a sentence.
        written: The names that the file has for columns that were asked for by another name.
        secret: The columns that no message may name: a table without a header has names there.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]
    delimiter: str = ","
    decimal_comma: bool = False
    notes: tuple[str, ...] = ()
    written: Mapping[str, str] = field(default_factory=dict)
    secret: frozenset[str] = frozenset()

    def say(self, column: str) -> str:
        """Return a column's name, or its place ("4") where the name may not be said."""
        return say(column, self.columns, self.secret)

    @cached_property
    def content(self) -> Mapping[str, str]:
        """Whether each column holds numbers, codes or words; see `column_content`."""
        whole = [row for row in self.rows if not row.fault]
        return {
            column: column_content(
                [row[column] for row in whole if row[column]], self.decimal_comma
            )
            for column in self.columns
        }

    def wrong(self, row: TableRow, column: str, problem: str) -> WrongRow:
        """Return the error for a cell: "FileList.csv row 3, column EF: 'good' is no number"."""
        where = f"{self.path.name} row {row.number}, column {self.say(column)}"
        return WrongRow(f"{where}: {row.raw(column)!r} {problem}")

    def number(self, row: TableRow, column: str) -> float | None:
        """Return the finite number in a cell, None if it has no value; raise WrongRow else.

        Args:
            row: One of the table's rows.
            column: The name of the column.
        """
        if not (text := row[column]):
            return None
        number = parse_number(text, self.decimal_comma)
        if number is None:
            raise self.wrong(row, column, "is no number")
        if not math.isfinite(number):
            raise self.wrong(row, column, "is no finite number")
        return number

    def split(self, row: TableRow, column: str = "split") -> str | None:
        """Return train, val or test; None if the cell has no value; raise WrongRow else.

        Args:
            row: One of the table's rows.
            column: The name of the column.
        """
        split = split_of(row[column])
        if row[column] and split is None:
            raise self.wrong(row, column, "is not one of train, val, test")
        return split

    def labels(self, row: TableRow, skip: Collection[str]) -> dict[str, float | str]:
        """Return the cells that have a value, those of columns of numbers as numbers.

        Text stays as it is, and so do the cells of a column that is mostly text: a hash, 008. An
        infinite number among numbers raises WrongRow.

        Args:
            row: One of the table's rows.
            skip: The columns that are no labels.
        """
        labels: dict[str, float | str] = {}
        for column in self.columns:
            if column in skip or not (text := row[column]):
                continue
            labels[column] = text
            if self.content[column] == NUMBERS and not is_word(text, self.decimal_comma):
                labels[column] = self.number(row, column) or 0.0
        return labels

    def merge(self, rows: Sequence[TableRow], skip: Collection[str] = ()) -> TableRow:
        """Return one row for all rows of one file; raise WrongRow if they contradict each other.

        Two rows contradict each other where both have a value and the values differ; 55 and 55.0
        do not differ, nor do VAL and valid.

        Args:
            rows: Rows of the table, at least one.
            skip: The columns that may differ: the name of the file.
        """
        if fault := next((row.fault for row in rows if row.fault), ""):
            raise WrongRow(fault)
        if len(rows) == 1:
            return rows[0]
        cells: dict[str, str] = {}
        for column in self.columns:
            filled = [row for row in rows if row[column]] or rows[:1]
            for row in filled[1:] if column not in skip else ():
                if self._meaning(row[column]) != self._meaning(filled[0][column]):
                    first = f"{filled[0][column]!r} in row {filled[0].number}"
                    raise self.wrong(row, column, f"differs from {first}, of the same video")
            cells[column] = filled[0].raw(column)
        places = {column: place for place, column in enumerate(cells)}
        return TableRow(rows[0].number, tuple(cells.values()), places)

    def _meaning(self, text: str) -> float | str:
        number = parse_number(text, self.decimal_comma)
        if number is None or not math.isfinite(number):
            return split_of(text) or text
        return number


def say(column: str, columns: Sequence[str], secret: Collection[str]) -> str:
    """Return the name of a column as a message may have it: its place ("4") if it is secret.

    Args:
        column: One of `columns`.
        columns: The table's columns, in order.
        secret: Those that no message may name.
    """
    return str(columns.index(column) + 1) if column in secret else column
