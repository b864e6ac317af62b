"""Tables as people and programs write them: read one, and find the files that it names.

Invariant: an odd row is the fault of its own record, with file, row and column in words, and the
rows around it are read as they are.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from echosweep.data.matching import Named as Named
from echosweep.data.matching import candidates, clean_name, leaves_folder, naming_notes
from echosweep.data.matching import match as match
from echosweep.data.source import MISSING, Guard, Listing
from echosweep.data.table_rows import RowMaker, has_decimal_commas
from echosweep.data.table_rows import TableRow as TableRow
from echosweep.data.table_rows import patient_text as patient_text
from echosweep.data.table_text import cells_of, column_key, name_columns, read_text, records
from echosweep.data.table_values import Table as Table
from echosweep.data.table_values import WrongRow as WrongRow
from echosweep.data.table_values import say
from echosweep.errors import UsageError

_QUOTED = re.compile(r"""(?<!\w)('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""")

Column = str | tuple[str, ...]
"""A column's name; or its possible names, of which the first is the one that rows answer to."""

PATIENT = ("patient", "patient_id", "subject", "subject_id")
"""The names of a column of patients, as a `Column`; the first that a table has is read."""


def read_table(
    path: Path,
    required: Iterable[Column],
    optional: Iterable[Column] = (),
    anonymous: bool = False,
) -> Table:
    """Read a table: commas, semicolons or tabs; UTF-8, UTF-16 or, said in a note, cp1252.

    Columns asked for are found in any case, with blanks, "_" and "-" or without; rows answer to
    the name asked for. Other columns keep the name that they have.

    Args:
        path: The file.
        required: Columns that there must be.
        optional: Columns that there may be.
        anonymous: Whether messages name neither the folder nor columns that were not asked for.

    Raises:
        UsageError: The file cannot be read, is no table, or lacks a required column.
    """
    needed = [(column,) if isinstance(column, str) else column for column in required]
    asked = [*needed, *((column,) if isinstance(column, str) else column for column in optional)]
    with Guard(UsageError) as guard:
        return _read(path, needed, asked, anonymous)
    raise UsageError(f"{path.name if anonymous else path} {guard.fault}")


def _read(
    path: Path, needed: Sequence[Sequence[str]], asked: Sequence[Sequence[str]], anonymous: bool
) -> Table:
    place = path.name if anonymous else str(path)
    text = read_text(path, [column_key(name) for names in needed for name in names], place)
    header = cells_of(
        text.lines[text.header] if text.header < len(text.lines) else "", text.delimiter
    )
    columns = name_columns(header, asked)
    if lacking := [names[0] for names in needed if names[0] not in columns]:
        has = "" if anonymous else f"; it has: {_printable(columns) or 'nothing'}"
        want = ", ".join(" or ".join(names) for names in needed)
        raise UsageError(f"{place} has no column {', '.join(lacking)}{has}; needed: {want}")
    known = {names[0] for names in asked}
    names = tuple(name for name in dict.fromkeys(columns) if name)
    secret = frozenset(names) - known if anonymous else frozenset()
    builder = RowMaker(
        path.name,
        columns,
        [names[0] for names in needed],
        partial(say, columns=names, secret=secret),
    )
    rows = tuple(builder.row(record) for record in records(text, len(columns)))
    comma = text.delimiter == ";" or (text.delimiter == "\t" and has_decimal_commas(rows, columns))
    written = {name: old for name, old in zip(columns, header, strict=True) if name in known}
    notes = (*text.notes, *builder.notes())
    return Table(path, names, rows, text.delimiter, comma, notes, written, secret)


def read_optional(
    path: Path,
    required: Iterable[Column],
    optional: Iterable[Column] = (),
    anonymous: bool = False,
) -> tuple[Table | None, list[str]]:
    """Read a table that nothing depends on: return None and a note where that fails.

    Args:
        path: The file.
        required: Columns without which the table is of no use.
        optional: Columns that there may be.
        anonymous: Whether messages name neither the folder nor columns that were not asked for.
    """
    try:
        table = read_table(path, required, optional, anonymous)
    except UsageError as error:
        return None, [f"{error}; it is not used"]
    return table, list(table.notes)


def patient_note(table: Table) -> list[str]:
    """Return a note where a column of another name is read as the patient.

    Args:
        table: A table that was asked for `PATIENT`.
    """
    name = table.written.get(PATIENT[0], PATIENT[0])
    if column_key(name) == PATIENT[0]:
        return []
    return [f"{table.path.name}: its column {name} is read as the patient; rename it if it is none"]


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
        rows = video.rows
        with Guard() as guard:
            rows = (table.merge(video.rows, (column,)),)
            several += len(video.rows) > 1
        merged.append(video._replace(rows=rows, fault=video.fault or guard.fault))
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


def _printable(columns: Iterable[str]) -> str:
    has = ", ".join(filter(None, columns))[:300]
    return "".join(letter if letter.isprintable() else "?" for letter in has)


def _without_file(
    table: Table, row: TableRow, name: str, found: Sequence[Path], folder: Path | None
) -> Named:
    if not name:
        return Named(f"{table.path.name} row {row.number}", table.path, (), "names no file")
    path = table.path if leaves_folder(name) else (folder or table.path.parent) / name
    if found:
        several = ", ".join(sorted(repr(file.name) for file in found[:3]))
        return Named(name, path, (), f"may be any of several files: {several}")
    return Named(name, path, (), MISSING)
