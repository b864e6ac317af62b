"""Tables as people and programs write them: what their cells mean, and which files they name.

Invariant: an odd cell or row is the fault of its own record, with file, row and column in words,
and the rows around it are read as they are; no cell is ever read as the nearest value or split.
"""

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from echosweep.data.matching import Named as Named
from echosweep.data.matching import candidates, clean_name, leaves_folder, naming_notes
from echosweep.data.matching import match as match
from echosweep.data.source import MISSING, Listing
from echosweep.data.split_words import split_of
from echosweep.data.table_rows import Row as Row
from echosweep.data.table_rows import RowMaker, has_decimal_commas, parse_number
from echosweep.data.table_rows import patient_text as patient_text
from echosweep.data.table_text import cells_of, column_key, name_columns, read_text, records
from echosweep.errors import UsageError

_QUOTED = re.compile(r"""(?<!\w)('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""")

Column = str | tuple[str, ...]
"""A column's name; or its possible names, of which the first is the one that rows answer to."""


class WrongRow(Exception):
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
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    delimiter: str = ","
    decimal_comma: bool = False
    notes: tuple[str, ...] = ()

    def wrong(self, row: Row, column: str, problem: str) -> WrongRow:
        """Return the error for a cell: "FileList.csv row 3, column EF: 'good' is no number"."""
        where = f"{self.path.name} row {row.number}, column {column}"
        return WrongRow(f"{where}: {row.raw(column)!r} {problem}")

    def number(self, row: Row, column: str) -> float | None:
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

    def split(self, row: Row, column: str = "split") -> str | None:
        """Return train, val or test; None if the cell has no value; raise WrongRow else.

        Args:
            row: One of the table's rows.
            column: The name of the column.
        """
        split = split_of(row[column])
        if row[column] and split is None:
            raise self.wrong(row, column, "is not one of train, val, test")
        return split

    def labels(self, row: Row, skip: Collection[str]) -> dict[str, float | str]:
        """Return the cells that have a value, numbers as numbers; raise WrongRow for infinity.

        Args:
            row: One of the table's rows.
            skip: The columns that are no labels.
        """
        labels: dict[str, float | str] = {}
        for column in self.columns:
            if column not in skip and (text := row[column]):
                number = parse_number(text, self.decimal_comma)
                if number is not None and not math.isfinite(number):
                    raise self.wrong(row, column, "is no finite number")
                labels[column] = text if number is None else number
        return labels

    def merge(self, rows: Sequence[Row], skip: Collection[str] = ()) -> Row:
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
        return Row(rows[0].number, tuple(cells.values()), places)

    def _meaning(self, text: str) -> float | str:
        number = parse_number(text, self.decimal_comma)
        return split_of(text) or text if number is None else number


def read_table(path: Path, required: Iterable[Column], optional: Iterable[Column] = ()) -> Table:
    """Read a table: commas, semicolons or tabs; UTF-8, UTF-16 or, said in a note, cp1252.

    Columns asked for are found in any case, with blanks, "_" and "-" or without; rows answer to
    the name asked for. Other columns keep the name that they have.

    Args:
        path: The file.
        required: Columns that there must be.
        optional: Columns that there may be.

    Raises:
        UsageError: The file cannot be read, is no table, or lacks a required column.
    """
    needed = [(column,) if isinstance(column, str) else column for column in required]
    welcome = [(column,) if isinstance(column, str) else column for column in optional]
    text = read_text(path, [column_key(name) for names in needed for name in names])
    header = text.lines[text.header] if text.header < len(text.lines) else ""
    columns = name_columns(cells_of(header, text.delimiter), [*needed, *welcome])
    if lacking := [names[0] for names in needed if names[0] not in columns]:
        has = ", ".join(filter(None, columns)) or "nothing"
        has = "".join(letter if letter.isprintable() else "?" for letter in has[:300])
        want = ", ".join(" or ".join(names) for names in needed)
        raise UsageError(
            f"{path} has no column {', '.join(lacking)}; it has: {has}; needed: {want}"
        )
    builder = RowMaker(path.name, columns, [names[0] for names in needed])
    rows = tuple(builder.row(record) for record in records(text, len(columns)))
    comma = text.delimiter == ";" or (text.delimiter == "\t" and has_decimal_commas(rows, columns))
    names = tuple(name for name in dict.fromkeys(columns) if name)
    return Table(path, names, rows, text.delimiter, comma, (*text.notes, *builder.notes()))


def read_optional(
    path: Path, required: Iterable[Column], optional: Iterable[Column] = ()
) -> tuple[Table | None, list[str]]:
    """Read a table that nothing depends on: return None and a note where that fails.

    Args:
        path: The file.
        required: Columns without which the table is of no use.
        optional: Columns that there may be.
    """
    try:
        table = read_table(path, required, optional)
    except UsageError as error:
        return None, [f"{error}; it is not used"]
    return table, list(table.notes)


def named(
    table: Table, column: str, there: Mapping[str, Path], folder: Path | None = None
) -> tuple[list[Named], list[str]]:
    """Return the videos that a table names, in its order, and notes on how names were matched.

    Args:
        table: A table.
        column: Its column of names.
        there: The files that there are, by name; see `match`.
        folder: Where a file that is not there was looked for; None: beside the table.
    """
    names = {row.number: clean_name(row.raw(column)) for row in table.rows}
    files = candidates(names.values(), there)
    spelled = {path: name for name, path in reversed(list(there.items()))}
    videos: dict[object, Named] = {}
    for row in table.rows:
        name = names[row.number]
        found = files.get(name, ())
        if len(found) == 1:
            video = Named(spelled[found[0]], found[0], ())
            key: object = found[0]
        else:
            video, key = _without_file(table, row, name, found, folder), name or row.number
        videos[key] = (old := videos.get(key, video))._replace(rows=(*old.rows, row))
    listed = list(videos.values())
    return listed, naming_notes(table.path.name, listed, files, there)


def one_row_each(table: Table, column: str, videos: Iterable[Named]) -> tuple[list[Named], str]:
    """Return the videos with their rows merged into one, and a note where that was needed.

    Rows that contradict each other, and rows that cannot be trusted, are the video's fault.

    Args:
        table: The table that they are from.
        column: Its column of names.
        videos: What `named` returned.
    """
    merged, several = [], 0
    for video in videos:
        try:
            merged.append(video._replace(rows=(table.merge(video.rows, (column,)),)))
            several += len(video.rows) > 1
        except WrongRow as fault:
            merged.append(video._replace(fault=video.fault or str(fault)))
    note = f"{several} videos have several rows in {table.path.name}, which agree: they are merged"
    return merged, note if several else ""


def hide_values(listing: Listing) -> Listing:
    """Return a listing whose faults and notes quote no cell and no file: patients may be in them.

    Args:
        listing: What a source listed.
    """
    clips = [
        replace(clip, fault=_QUOTED.sub("'...'", clip.fault)) if clip.fault else clip
        for clip in listing.clips
    ]
    return replace(
        listing, clips=clips, notes=[_QUOTED.sub("'...'", note) for note in listing.notes]
    )


def _without_file(
    table: Table, row: Row, name: str, found: Sequence[Path], folder: Path | None
) -> Named:
    if not name:
        return Named(f"{table.path.name} row {row.number}", table.path, (), "names no file")
    path = table.path if leaves_folder(name) else (folder or table.path.parent) / name
    if found:
        several = ", ".join(sorted(repr(file.name) for file in found[:3]))
        return Named(name, path, (), f"may be any of several files: {several}")
    return Named(name, path, (), MISSING)
