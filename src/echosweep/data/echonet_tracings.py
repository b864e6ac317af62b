"""The traced frames of a video: which shows the end of diastole, which the end of systole.

The tables name frames and no phases: the frame with the larger ventricle is ED, the other ES.
Invariant: a tracing of which a part cannot be read gives no label, as its area would be wrong.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from echosweep.data.table_rows import TableRow, parse_number
from echosweep.data.tables import Table, WrongRow, match, read_optional

_MOST = 1e9  # of a frame's number, and of pixels
Labels = dict[str, float | str]
Shape = Sequence[Sequence[float]]


def traced_frames(
    path: Path, there: Mapping[str, Path], anonymous: bool = False
) -> tuple[dict[Path, Labels], list[str], bool]:
    """Return ED_frame and ES_frame by video, notes, and whether the table was of use.

    Args:
        path: VolumeTracings.csv: chords X1, Y1, X2, Y2, the long axis first, or points X, Y.
        there: The videos by name.
        anonymous: Whether no note names a folder or a column.
    """
    columns = ["X1", "Y1", "X2", "Y2", "X", "Y"]
    table, notes = read_optional(path, ["FileName", "Frame"], columns, anonymous)
    if table is None:
        return {}, notes, False
    kind = next((kind for kind in _KINDS if set(kind.columns) <= set(table.columns)), None)
    if kind is None:
        has = "" if anonymous else f" (it has: {', '.join(table.columns)})"
        return {}, [*notes, f"{path.name} has no outlines{has}; it is not used"], False
    shapes, odd = _shapes(table, kind)
    if odd:
        text, more = odd[0], "" if len(odd) == 1 else f", and {len(odd) - 1} rows more"
        notes.append(f"{text}{more}: no ED_frame and ES_frame comes of a tracing that lacks a part")
    files = match(shapes, there)
    phases = {files[name]: _phases(shapes[name], kind) for name in shapes if name in files}
    return phases, notes, True


class _Kind(NamedTuple):
    """A way to write outlines: its columns, and the area of what a frame has in them."""

    columns: tuple[str, ...]
    area: Callable[[Shape], float]


def _discs(chords: Shape) -> float:
    """Return the area of a ventricle: its long axis times the mean disc across it."""
    axis, *discs = (math.hypot(x2 - x1, y2 - y1) for x1, y1, x2, y2 in chords)
    return axis * sum(discs) / max(1, len(discs))


def _polygon(points: Shape) -> float:
    """Return the area within an outline, by the sum of its cross products."""
    pairs = zip(points, [*points[1:], points[0]], strict=True)
    return abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairs)) / 2


_KINDS = (_Kind(("X1", "Y1", "X2", "Y2"), _discs), _Kind(("X", "Y"), _polygon))


def _shapes(table: Table, kind: _Kind) -> tuple[dict[str, dict[int, Shape]], list[str]]:
    """Return what is drawn, by video and frame, and what is wrong with each row passed over."""
    shapes: defaultdict[str, defaultdict[int, list[Sequence[float]]]]
    shapes = defaultdict(lambda: defaultdict(list))
    odd: list[str] = []
    spoilt: set[str] = set()
    for row in table.rows:
        name = row.raw("FileName")
        try:
            frame, shape = _drawn(table, row, kind)
            shapes[name][frame].append(shape)
        except WrongRow as problem:
            odd.append(str(problem))
            # "No Systolic" stands for a phase that was not traced: the other one is whole.
            if row.fault or any(letter.isdigit() for letter in row.raw("Frame")):
                spoilt.add(name)
    return {name: dict(frames) for name, frames in shapes.items() if name not in spoilt}, odd


def _drawn(table: Table, row: TableRow, kind: _Kind) -> tuple[int, Sequence[float]]:
    if row.fault:
        raise WrongRow(row.fault)
    values = []
    for column in ("Frame", *kind.columns):
        value = parse_number(row.raw(column), table.decimal_comma)
        if value is None or not abs(value) < _MOST:  # false for NaN too
            raise table.wrong(row, column, "is no number")
        values.append(value)
    return int(values[0]), tuple(values[1:])


def _phases(shapes: Mapping[int, Shape], kind: _Kind) -> Labels:
    area = {frame: kind.area(shape) for frame, shape in shapes.items()}
    if len(area) < 2:
        return {}
    return {
        "ED_frame": max(area, key=area.__getitem__),
        "ES_frame": min(area, key=area.__getitem__),
    }
