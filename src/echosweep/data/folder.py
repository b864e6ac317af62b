"""Any folder of video files, with an optional table that says what they show.

`videos.csv` (or `labels.csv`, or Hugging Face's `metadata.csv`) in the folder: a column `file` or
`file_name`, and any of `patient` (or `patient_id`, `subject`, `subject_id`), `split` and labels.
Subfolders train, val and test are splits, the names of others become the label "folder". Invariant:
the table adds to what lies in the folder; a file that it lists and that is missing is excluded with
that reason, not forgotten.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from echosweep.config import PrepareConfig
from echosweep.data import video
from echosweep.data.limits import LIMITS, Limits
from echosweep.data.source import Clip, Frame, Guard, Listing
from echosweep.data.split_words import folder_splits
from echosweep.data.table_rows import CODES, NUMBERS, is_word
from echosweep.data.tables import (
    PATIENT,
    Named,
    Table,
    hide_values,
    named,
    one_row_each,
    patient_note,
    patient_text,
    read_optional,
    read_table,
)
from echosweep.data.tree import FileTree

TABLES = ("videos.csv", "labels.csv", "metadata.csv")
LOOKS_FOR = "video files (" + " ".join(suffix[1:] for suffix in video.SUFFIXES) + ")"
SPLIT_FOLDERS = "the folders train, val, test"
_FILE = ("file", "file_name")
_NO_LABELS = ("file", "patient", "split")


def count(tree: FileTree) -> int:
    """Return the number of video files in `tree`, whatever tables lie beside them."""
    return len(tree.ending(video.SUFFIXES))


def clips(tree: FileTree, config: PrepareConfig) -> Listing:
    """Return a clip for each video and for each file that the table lists, sorted by name.

    Args:
        tree: A folder of videos, or one video.
        config: With `anonymous` no note or error has a cell or a name in it.

    Raises:
        UsageError: The folder's table is no table, or has no column of files.
    """
    found = {tree.name(file): file for file in tree.ending(video.SUFFIXES)}
    table, notes = _table(tree, config.anonymous)
    rows: dict[str, Named] = {}
    if table:
        listed, more = named(table, "file", found, tree.root)
        merged, note = one_row_each(table, "file", listed)
        rows = {each.name: each for each in merged}
        notes += [*more, *([note] if note else []), *patient_note(table), *_mixed_columns(table)]
    folders = folder_splits(found)
    told = [
        _clip(name, found.get(name), rows.get(name), table, folders)
        for name in sorted({*found, *rows})
    ]
    apart = [each.clip.name for each in told if each.contradicts]
    if apart:
        notes.append(
            f"{len(apart)} videos lie in the folder of another split than the table gives, as "
            f"{apart[0]!r}: the split of the table is taken"
        )
    listing = Listing(
        clips=[each.clip for each in told],
        layout=f"video files with {table.path.name}" if table else "video files",
        tables=[table.path] if table else [],
        unlisted=[name for name in found if name not in rows] if table else [],
        notes=notes,
    )
    return hide_values(listing) if config.anonymous else listing


def decode(clip: Clip, every: int, channels: int, limits: Limits = LIMITS) -> Iterator[Frame]:
    """Yield every `every`-th frame of the clip's file; see `video.decode`."""
    return video.decode(clip.path, every, channels, clip.frames, limits=limits)


class _Told(NamedTuple):
    clip: Clip
    contradicts: bool  # whether table and folder name different splits


def _table(tree: FileTree, anonymous: bool) -> tuple[Table | None, list[str]]:
    """Return the folder's table and notes; one called metadata.csv may be about other things."""
    path = next((path for name in TABLES if (path := tree.find(name))), None)
    if path is None:
        return None, []
    if path.name.lower() == TABLES[-1]:
        return read_optional(path, [_FILE], [PATIENT, "split"], anonymous)
    table = read_table(path, [_FILE], [PATIENT, "split"], anonymous)
    return table, list(table.notes)


def _clip(
    name: str,
    file: Path | None,
    listed: Named | None,
    table: Table | None,
    folders: Mapping[str, tuple[str, str]],
) -> _Told:
    """Return the clip of a file, of a row, or of both."""
    folder_split, rest = folders.get(name, (None, name))
    parent = rest.rpartition("/")[0]
    labels: dict[str, float | str] = {"folder": parent} if parent and file else {}
    split, patient, fault = None, None, listed.fault if listed else ""
    if table and listed and not fault:
        (row,) = listed.rows
        with Guard() as guard:
            split, patient = table.split(row), patient_text(row["patient"]) or None
            labels |= table.labels(row, skip=_NO_LABELS)
        fault = guard.fault
    by = table.path.name if table else ""
    clip = Clip(
        name=name,
        path=file or (listed.path if listed else Path(name)),
        split=split or folder_split,
        split_by=by if split else SPLIT_FOLDERS if folder_split else "",
        patient=patient,
        patient_by=by if patient else "",
        labels=labels,
        fault=fault,
    )
    return _Told(clip, bool(split and folder_split and split != folder_split))


def _mixed_columns(table: Table) -> list[str]:
    """Return a note for each column of labels whose numbers are, here and there, kept as text."""
    notes, comma = [], table.decimal_comma
    for column in table.columns:
        words = [row for row in table.rows if (cell := row[column]) and is_word(cell, comma)]
        if column in _NO_LABELS or not words:
            continue
        where = f"{table.path.name} row {words[0].number}, column {table.say(column)}: "
        where += f"{words[0][column]!r}"
        if table.content[column] == NUMBERS:
            notes.append(f"{where} is a word among numbers; so it is kept, in {len(words)} rows")
        elif table.content[column] == CODES:
            notes.append(f"{where} has leading zeros: the column is kept as text")
    return notes
