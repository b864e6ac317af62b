"""The text of a table as lists of cells: encodings, delimiters, quotes.

Invariant: a quote that does not end costs the record that it is in, never the lines below it.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from echosweep import bounded
from echosweep.errors import UsageError

_DELIMITERS = ",;\t"
MOST_BYTES = 1 << 26
"""How long a table may be: in memory it takes many times as much."""
_MOST_COLUMNS = 10_000
_LONGEST_CELL = 100  # lines: a quote that is open for longer was never meant to be one
_BOMS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_EXCEL = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")


class Record(NamedTuple):
    """The cells of one row, its number in a spreadsheet, and what is wrong with its quotes."""

    number: int
    cells: Sequence[str]
    problem: str = ""


class Text(NamedTuple):
    """A table's text: lines, the place of the header, the delimiter, and notes on the reading."""

    lines: Sequence[str]
    header: int
    delimiter: str
    notes: Sequence[str]


def read_text(path: Path, wanted: Sequence[str] = (), place: str = "") -> Text:
    """Read the lines of a file and tell its delimiter by its header.

    Args:
        path: The file: UTF-8, UTF-16 with a byte order mark, or else cp1252, which a note says.
        wanted: Names of columns, as `column_key` gives them: they tell the delimiter.
        place: What errors call the file; "": its path.

    Raises:
        UsageError: The file cannot be read or is of Excel's own format.
    """
    try:
        data = bounded.read_bytes(path, MOST_BYTES)
    except OSError as error:
        raise UsageError(f"{place or path} cannot be read: {error.strerror}") from None
    if data.startswith(_EXCEL):
        raise UsageError(f"{place or path} is no CSV file but one of Excel; save it as CSV")
    text, notes = _decoded(data, path.name)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    header = next((at for at, line in enumerate(lines) if line.strip(" \t,;")), len(lines))
    delimiters = _DELIMITERS
    if header < len(lines) and (said := re.fullmatch(r'"?sep=([,;\t])"?\s*', lines[header])):
        delimiters, header = said[1], header + 1

    if header < len(lines) and max(map(lines[header].count, delimiters)) >= _MOST_COLUMNS:
        raise UsageError(f"{place or path} has more than {_MOST_COLUMNS:,} columns; is it a table?")

    def fit(delimiter: str) -> tuple[int, int]:
        cells = cells_of(lines[header], delimiter)
        return len({column_key(cell) for cell in cells} & set(wanted)), len(cells)

    delimiter = max(delimiters, key=fit) if header < len(lines) else delimiters[0]
    return Text(lines, header, delimiter, notes)


def column_key(name: str) -> str:
    """Return what spellings of a column's name have in common: "file_name" is "FileName"."""
    return re.sub(r"[\s_-]", "", name).casefold()


def name_columns(header: Sequence[str], asked: Iterable[Sequence[str]]) -> list[str]:
    """Return the names of a header's columns, those that were asked for as they were asked for.

    Args:
        header: The names in the file.
        asked: Each column's possible names; the first is the one that is returned.
    """
    names = list(header)
    for alternatives in asked:
        for alternative in alternatives:
            same = [at for at, name in enumerate(header) if name.lower() == alternative.lower()]
            key = column_key(alternative)
            same = same or [at for at, name in enumerate(header) if column_key(name) == key]
            for at in same:
                names[at] = alternatives[0]
            if same:
                break
    return names


def cells_of(line: str, delimiter: str) -> list[str]:
    """Return the cells of a line in which every quote ends, without blanks around them."""
    if '"' not in line:
        return list(map(str.strip, line.split(delimiter)))
    try:
        (cells,) = csv.reader([line], delimiter=delimiter, skipinitialspace=True)
    except (csv.Error, ValueError):
        return _unquoted(line, delimiter)
    return [cell.strip() for cell in cells]


def records(text: Text, width: int) -> Iterator[Record]:
    """Yield the rows below the header that are not empty, each with its number.

    Args:
        text: A table's text.
        width: How many columns the table has.
    """
    at, number = text.header + 1, text.header + 2
    while at < len(text.lines):
        line, problem, taken = text.lines[at], "", 1
        if line.count('"') % 2 == 0:
            cells = cells_of(line, text.delimiter)
        elif joined := _over_lines(text, at, width):
            cells, taken = joined
        else:
            cells, problem = _unquoted(line, text.delimiter), "a quote in it does not end"
        if any(cells):
            yield Record(number, cells, problem)
        at, number = at + taken, number + 1


def _decoded(data: bytes, name: str) -> tuple[str, list[str]]:
    notes = []
    encoding = next((name for mark, name in _BOMS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        try:
            text = data.decode("cp1252")
        except UnicodeDecodeError:  # cp1252 has no character for five of the bytes
            text = data.decode("latin-1")
        notes.append(f"{name} is not in {encoding.upper()}; it was read as cp1252 (Latin-1)")
    if count := text.count("\0"):
        text = text.replace("\0", "")
        notes.append(f"{name} holds {count} NUL bytes; they were passed over")
    return text, notes


def _unquoted(line: str, delimiter: str) -> list[str]:
    return [cell.strip().strip('"').strip() for cell in line.split(delimiter)]


def _over_lines(text: Text, at: int, width: int) -> tuple[list[str], int] | None:
    """Return the cells of the record that begins at a line with an odd number of quotes.

    The second value is how many lines it takes. None means that a quote does not end: no line below
    closes it, or the lines below are whole records by themselves.
    """
    quotes = 0
    for end in range(at, min(at + _LONGEST_CELL, len(text.lines))):
        line = text.lines[end]
        quotes += line.count('"')
        if end > at and len(line.split(text.delimiter)) == width:
            return None
        if end == at or quotes % 2 == 0:
            lines = [f"{each}\n" for each in text.lines[at : end + 1]]
            cells = _strict(lines, text.delimiter)
            if cells and (end == at or len(cells) == width):
                return cells, end + 1 - at
        if quotes % 2 == 0:
            return None
    return None


def _strict(lines: Sequence[str], delimiter: str) -> list[str] | None:
    """Return the cells if `lines` are exactly one record whose quotes end where cells end."""
    try:
        (cells,) = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    except (csv.Error, ValueError):
        return None
    return [cell.strip() for cell in cells]
