"""What metadata.csv (or metadata.jsonl) says of images, as Hugging Face's `imagefolder` has it.

It lies beside the images or above them, and its column `file_name` is a path from there, of an
image or of a folder: then it is said of all images below. `split` and `patient` are read if there;
every other column is a label. Invariant: a row adds to an image that is there, or is a clip whose
fault says what is wrong with it.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from echosweep import bounded
from echosweep.data.source import Clip, Guard
from echosweep.data.table_text import MOST_BYTES
from echosweep.data.tables import (
    Table,
    TableRow,
    named,
    one_row_each,
    patient_text,
    read_optional,
)
from echosweep.data.tree import FileTree

_NAMES = ("metadata.csv", "metadata.jsonl")
_FILE = "file_name"
_OWN = (_FILE, "split", "patient")
_NAMED = re.compile(rf'"{_FILE}"\s*:\s*("(?:[^"\\]|\\.)*")')
Labels = Mapping[str, float | str]


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
        said: What they say of an image, or of all images below a folder.
        missing: A clip for each row that means no image.
        notes: What was odd, each a sentence.
    """

    paths: list[Path] = field(default_factory=list)
    said: dict[Path, Said] = field(default_factory=dict)
    missing: list[Clip] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def say(self, images: Iterable[Path], folders: Iterable[Path]) -> Said | None:
        """Return what the tables say of a clip; None if they list nothing of it.

        Args:
            images: The images of the clip: what they share is said of it.
            folders: The folders that it lies in.
        """
        of_images = [self.said[path] for path in images if path in self.said]
        of_folders = [self.said[path] for path in folders if path in self.said]
        said = [*of_folders, *of_images]
        if len(said) < 2:
            return said[0] if said else None
        labels, differing = _united([*(each.labels for each in of_folders), _shared(of_images)])
        splits = sorted({each.split for each in said if each.split})
        patients = sorted({each.patient for each in said if each.patient})
        table = said[0].table
        whom = "a folder and of what lies in it" if of_folders else "images of this video"
        faults = [each.fault for each in said if each.fault]
        if len(splits) > 1:
            faults.append(f"{table} says {' and '.join(splits)} of {whom}")
        if len(patients) > 1:
            faults.append(f"{table} says several patients of {whom}")
        if differing:
            faults.append(f"{table} says several {differing} of {whom}")
        split, patient = (values[0] if values else None for values in (splits, patients))
        return Said(labels, split, patient, table, faults[0] if faults else "")


def _shared(said: Sequence[Said]) -> Labels:
    """Return the labels that are the same for all."""
    first = said[0].labels if said else {}
    return {
        key: value
        for key, value in first.items()
        if all(other.labels.get(key) == value for other in said)
    }


def _united(several: Iterable[Labels]) -> tuple[Labels, str]:
    """Return the labels of all together, and the name of one on which they differ."""
    united: dict[str, float | str] = {}
    differing = ""
    for labels in several:
        for key, value in labels.items():
            if united.setdefault(key, value) != value:
                differing = differing or key
    return united, differing


def read_tables(tree: FileTree, there: Mapping[str, Path], secret: bool = False) -> ImageTables:
    """Return what all tables in `tree` say.

    Args:
        tree: The files.
        there: The images, and the folders that hold some, by name within the tree.
        secret: Whether notes may not quote what is in a table that is not used.
    """
    found = ImageTables()
    folders: dict[Path, Path] = {}
    for file in tree.ending((".csv", ".jsonl")):
        if file.name.lower() in _NAMES:
            folders.setdefault(file.parent, file)  # files are sorted: metadata.csv comes first
    for path in sorted(folders.values()):
        table, notes = _read(path)
        if table is not None:
            found.notes += notes
            found.paths.append(path)
            _add(found, table, tree.name(path).rpartition("/")[0], there)
        elif secret:
            found.notes.append(f"{path.name} is not used: it is no table with a column {_FILE}")
        else:
            found.notes += notes
    return found


def _add(found: ImageTables, table: Table, folder: str, there: Mapping[str, Path]) -> None:
    start = f"{folder}/" if folder else ""
    below = {name[len(start) :]: path for name, path in there.items() if name.startswith(start)}
    videos, notes = named(table, _FILE, below)
    videos, note = one_row_each(table, _FILE, videos)
    found.notes += [*notes, *([note] if note else [])]
    files = set(below.values())
    for video in videos:
        fault = next((row.fault for row in video.rows if row.fault), video.fault)
        if video.path in files:
            found.said[video.path] = _said(table, video.rows[0], fault)
        else:
            found.missing.append(Clip(start + video.name, video.path, fault=fault))


def _said(table: Table, row: TableRow, fault: str) -> Said:
    if fault:
        return Said(table=table.path.name, fault=fault)
    with Guard() as guard:
        labels, split = table.labels(row, _OWN), table.split(row)
        return Said(labels, split, patient_text(row["patient"]) or None, table.path.name)
    return Said(table=table.path.name, fault=guard.fault)


# --- JSON lines -----------------------------------------------------------------------------


class _Line(NamedTuple):
    """A line of a .jsonl file: its number, what it says, and why that cannot be used."""

    number: int
    record: Mapping[str, object]
    problem: str = ""


def _read(path: Path) -> tuple[Table | None, Sequence[str]]:
    if path.suffix.lower() == ".csv":
        return read_optional(path, [_FILE], ["split", "patient"])
    try:
        lines = list(_json_lines(bounded.read_bytes(path, MOST_BYTES)))
    except OSError as error:
        return None, [f"{path} is not used: it cannot be read ({error.strerror})"]
    columns = list(dict.fromkeys(key for line in lines for key in line.record))
    if _FILE not in columns:
        why = next((f": line {n} {problem}" for n, _, problem in lines if problem), "")
        return None, [f"{path} is not used: no line has a {_FILE}{why}"]
    places = {column: place for place, column in enumerate(columns)}
    rows = [
        TableRow(
            line.number,
            [_cell(line.record.get(column)) for column in columns],
            places,
            f"{path.name} line {line.number} {line.problem}" if line.problem else "",
        )
        for line in lines
    ]
    return Table(path, tuple(columns), tuple(rows)), ()


def _json_lines(data: bytes) -> Iterator[_Line]:
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if line.strip():
            yield _json_line(number, line)


def _json_line(number: int, line: bytes) -> _Line:
    """Return what a line says; of one that cannot be read no more than the file that it names."""
    try:
        record = json.loads(line.decode())
        json.dumps(record, ensure_ascii=False).encode()  # half a character cannot be kept
    except (ValueError, RecursionError):
        found = _NAMED.search(line.decode(errors="replace"))
        return _Line(number, _named_file(found[1]) if found else {}, "is no JSON")
    if not isinstance(record, dict):
        return _Line(number, {}, "is no JSON object")
    return _Line(number, record)


def _named_file(quoted: str) -> Mapping[str, object]:
    try:
        return {_FILE: json.loads(quoted)}
    except ValueError:
        return {}


def _cell(value: object) -> str:
    return str(value) if isinstance(value, str | int | float) else ""
