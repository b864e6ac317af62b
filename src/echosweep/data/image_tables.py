"""What metadata.csv (or metadata.jsonl) says of images, as Hugging Face's `imagefolder` has it.

It lies beside the images or above them, and its column `file_name` is a path from there. `split`
and `patient` are read if there; every other column is a label. Invariant: a row adds to an image
that is there, or is a clip whose fault says that it is missing.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from echosweep.data.source import Clip
from echosweep.data.tables import Row, Table, WrongRow, named, one_row_each, read_optional
from echosweep.data.tree import FileTree

_NAMES = ("metadata.csv", "metadata.jsonl")
_FILE = "file_name"
_OWN = (_FILE, "split", "patient")


class Said(NamedTuple):
    """What a table says of a clip: its labels, split and patient, the table, and a fault."""

    labels: Mapping[str, float | str] = {}
    split: str | None = None
    patient: str | None = None
    table: str = ""
    fault: str = ""


@dataclass
class ImageTables:
    """The tables of a tree of images.

    Attributes:
        paths: The files that were read.
        said: What they say of an image, or of a folder that is a video.
        missing: A clip for each row that means no image.
        notes: What was odd, each a sentence.
    """

    paths: list[Path] = field(default_factory=list)
    said: dict[Path, Said] = field(default_factory=dict)
    missing: list[Clip] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def say(self, paths: Iterable[Path]) -> Said | None:
        """Return what the tables say of all that they list of a clip; None if they list nothing.

        Args:
            paths: The images of the clip, and the folder that holds them.
        """
        said = [self.said[path] for path in paths if path in self.said]
        if len(said) < 2:
            return said[0] if said else None
        first, *others = said
        shared = {
            key: value
            for key, value in first.labels.items()
            if all(other.labels.get(key) == value for other in others)
        }
        fault = next((each.fault for each in said if each.fault), "")
        splits = sorted({each.split for each in said if each.split})
        patients = sorted({each.patient for each in said if each.patient})
        if len(splits) > 1:
            fault = fault or f"{first.table} says {' and '.join(splits)} of images of this video"
        elif len(patients) > 1:
            fault = fault or f"{first.table} says several patients of images of this video"
        split, patient = (values[0] if values else None for values in (splits, patients))
        return Said(shared, split, patient, first.table, fault)


def read_tables(tree: FileTree, there: Mapping[str, Path]) -> ImageTables:
    """Return what all tables in `tree` say.

    Args:
        tree: The files.
        there: The images, and folders that are videos, by name within the tree.
    """
    found = ImageTables()
    folders: dict[Path, Path] = {}
    for file in tree.ending((".csv", ".jsonl")):
        if file.name.lower() in _NAMES:
            folders.setdefault(file.parent, file)  # files are sorted: metadata.csv comes first
    for path in sorted(folders.values()):
        table, notes = _read(path)
        found.notes += notes
        if table is not None:
            found.paths.append(path)
            _add(found, table, tree.name(path).rpartition("/")[0], there)
    return found


def _add(found: ImageTables, table: Table, folder: str, there: Mapping[str, Path]) -> None:
    start = f"{folder}/" if folder else ""
    below = {name[len(start) :]: path for name, path in there.items() if name.startswith(start)}
    videos, notes = named(table, _FILE, below)
    videos, note = one_row_each(table, _FILE, videos)
    found.notes += [*notes, *([note] if note else [])]
    files = set(below.values())
    for video in videos:
        if video.path in files:
            found.said[video.path] = _said(table, video.rows[0], video.fault)
        else:
            found.missing.append(Clip(start + video.name, video.path, fault=video.fault))


def _said(table: Table, row: Row, fault: str) -> Said:
    if fault:
        return Said(table=table.path.name, fault=fault)
    try:
        return Said(
            table.labels(row, _OWN), table.split(row), row["patient"] or None, table.path.name
        )
    except WrongRow as wrong:
        return Said(table=table.path.name, fault=str(wrong))


def _read(path: Path) -> tuple[Table | None, Sequence[str]]:
    if path.suffix.lower() == ".csv":
        return read_optional(path, [_FILE], ["split", "patient"])
    try:
        with path.open(encoding="utf-8-sig") as file:
            records = [json.loads(line) for line in file if line.strip()]
        columns = list(dict.fromkeys(key for record in records for key in record))
        if _FILE not in columns:
            raise ValueError(f"no {_FILE} in it")
    except (ValueError, TypeError, RecursionError, OSError) as error:
        return None, [f"{path} is not used: {str(error)[:200]}"]
    places = {column: place for place, column in enumerate(columns)}
    rows = [
        Row(number, [_cell(record.get(column)) for column in columns], places)
        for number, record in enumerate(records, start=1)
    ]
    return Table(path, tuple(columns), tuple(rows)), ()


def _cell(value: object) -> str:
    return str(value) if isinstance(value, str | int | float) else ""
