"""The lists of the EchoNet data sets: what their rows say of a video.

EchoNet-Dynamic, -Synthetic and -Pediatric have one row a video and the same names of columns;
EchoNet-LVH has one row a measurement. Invariant: each video that a list names is a record, with the
split of its own rows or with a fault.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from echosweep.data.source import Guard
from echosweep.data.tables import Column, Named, Table, TableRow, WrongRow, one_row_each
from echosweep.errors import UsageError

Labels = dict[str, float | str]
Folds = dict[int, str]
KNOWN_FOLDS = range(10)
_WRITE = "write three groups for train, val, test, as 0-7/8/9"


class Facts(NamedTuple):
    """What a list says of one video."""

    split: str | None
    labels: Labels
    frames: int = 0


class Layout(NamedTuple):
    """A list that a data set has: how it is called, its columns, and the reader of its rows.

    Attributes:
        table: The name of the file.
        file: The column that names a video.
        split: The column of its split.
        needed: Further columns that there must be.
        numbers: Columns that are labels and numbers.
        words: Columns that are labels and words.
        data_sets: Names of data sets, each with the columns that tell it; the first that fits.
        one_row: Whether a video has one row.
        read: Returns the facts of one video; raises WrongRow.
    """

    table: str
    file: str
    split: str
    needed: tuple[str, ...]
    numbers: tuple[str, ...]
    words: tuple[str, ...]
    data_sets: dict[str, tuple[str, ...]]
    one_row: bool
    read: Callable[["Layout", Table, Sequence[TableRow], Folds], Facts]

    def required(self) -> list[Column]:
        """Return the columns that the list must have."""
        return [self.file, self.split, *self.needed]

    def optional(self) -> list[Column]:
        """Return the columns that the list may have."""
        return [*self.numbers, *self.words, "NumberOfFrames"]

    def data_set(self, table: Table) -> str:
        """Return the name of the data set that a table is of."""
        fitting = (name for name, own in self.data_sets.items() if set(own) <= set(table.columns))
        return next(fitting, self.table)


def _read_video(layout: Layout, table: Table, rows: Sequence[TableRow], folds: Folds) -> Facts:
    (row,) = rows
    labels: Labels = {}
    for column in layout.numbers:
        if (number := table.number(row, column)) is not None:
            labels[column] = number
    labels |= {column: row[column] for column in layout.words if row[column]}
    try:
        frames = int(table.number(row, "NumberOfFrames") or 0)
    except WrongRow:  # the file itself says how many it has
        frames = 0
    return Facts(_split(layout, table, row, folds), labels, max(0, frames))


def _read_measurements(
    layout: Layout, table: Table, rows: Sequence[TableRow], folds: Folds
) -> Facts:
    """Return each measurement's mean over its rows as a label, and the frame of the first."""
    row = table.merge(rows, [name for name in table.columns if name != layout.split])
    values: dict[str, list[float]] = {}
    labels: Labels = {}
    for each in rows:
        name, value = each["Calc"], table.number(each, "CalcValue")
        frame = table.number(each, "Frame")
        if name and value is not None:
            values.setdefault(name, []).append(value)
            if frame is not None:
                labels.setdefault(f"{name}_frame", int(frame))
    means: Labels = {name: sum(each) / len(each) for name, each in values.items()}
    return Facts(_split(layout, table, row, folds), means | labels)


LAYOUTS = (
    Layout(
        table="FileList.csv",
        file="FileName",
        split="Split",
        needed=("EF",),
        numbers=("EF", "ESV", "EDV", "Age", "Weight", "Height"),
        words=("Sex",),
        data_sets={"EchoNet-Dynamic": ("ESV", "EDV"), "EchoNet-Pediatric": ("Sex", "Age")},
        one_row=True,
        read=_read_video,
    ),
    Layout(
        table="MeasurementsList.csv",
        file="HashedFileName",
        split="split",
        needed=("Calc", "CalcValue"),
        numbers=("Frame",),
        words=(),
        data_sets={"EchoNet-LVH": ("Calc",)},
        one_row=False,
        read=_read_measurements,
    ),
)


def facts_of(
    layout: Layout, table: Table, videos: Sequence[Named], folds: str
) -> tuple[list[tuple[Named, Facts]], list[str]]:
    """Return what a list says of each video, faults in the videos, and notes.

    Args:
        layout: How the list is written.
        table: The list.
        videos: The videos that it names.
        folds: Which folds are train, val and test, as "0-7/8/9".

    Raises:
        UsageError: `folds` is wrong, or does not say what a fold of the table is.
    """
    groups, notes = _folds(layout, table, folds)
    if layout.one_row:
        videos, note = one_row_each(table, layout.file, videos)
        notes += [note] if note else []
    told = []
    for video in videos:
        facts = Facts(None, {})
        with Guard() as guard:
            if fault := video.fault or next((row.fault for row in video.rows if row.fault), ""):
                raise WrongRow(fault)
            facts = layout.read(layout, table, video.rows, groups)
        told.append((video._replace(fault=guard.fault), facts))
    unsaid = sum(not video.fault and facts.split is None for video, facts in told)
    if unsaid:
        notes.append(f"{unsaid} videos have no {layout.split} in {table.path.name}: it is drawn")
    return told, notes


def parse_folds(text: str) -> Folds:
    """Return the split of each fold; raise UsageError for a text that does not say it.

    Args:
        text: Three groups for train, val and test: "0-7/8/9", "0,2,4-6/1,3/7-9".
    """
    groups = text.replace(" ", "").split("/")
    if len(groups) != 3:
        raise UsageError(f"--folds {text}: {_WRITE}")
    folds: Folds = {}
    for split, group in zip(("train", "val", "test"), groups, strict=True):
        for part in group.split(","):
            first, _, last = part.partition("-")
            last = last or first if part.count("-") == 0 else last
            if not (first.isdecimal() and last.isdecimal() and len(first + last) < 9):
                raise UsageError(f"--folds {text}: {part!r} is no fold and no range; {_WRITE}")
            for fold in range(int(first), int(last) + 1):
                if folds.setdefault(fold, split) != split:
                    both = f"{folds[fold]} and {split}"
                    raise UsageError(f"--folds {text}: fold {fold} is in {both}; {_WRITE}")
            if int(last) < int(first):
                raise UsageError(f"--folds {text}: {part!r} holds no fold; {_WRITE}")
    return folds


def _fold(text: str) -> int | None:
    """Return the fold that a cell names: "3", or "3.0" as some programs write it."""
    digits = text.removesuffix(".0")
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 6 else None


def _folds(layout: Layout, table: Table, text: str) -> tuple[Folds, list[str]]:
    """Return the split of each fold, nothing if the table has words, and a note for folds."""
    cells = [cell for row in table.rows if (cell := row[layout.split])]
    found = {fold for cell in cells if (fold := _fold(cell)) is not None}
    if 2 * sum(_fold(cell) is not None for cell in cells) <= len(cells):
        return {}, []
    folds = parse_folds(text)
    if unknown := sorted((found & set(KNOWN_FOLDS)) - set(folds)):
        raise UsageError(f"--folds {text}: fold {unknown[0]} is in no group; {_WRITE}")
    note = (
        f"{table.path.name} has folds for splits: those of train/val/test are {text}; "
        "--folds chooses others"
    )
    return folds, [note]


def _split(layout: Layout, table: Table, row: TableRow, folds: Folds) -> str | None:
    fold = _fold(row[layout.split]) if folds else None
    if fold is None:
        return table.split(row, layout.split)
    if fold not in folds:
        raise table.wrong(row, layout.split, "is a fold in no group of --folds")
    return folds[fold]
