"""EchoNet-Dynamic (Ouyang et al. 2020): FileList.csv, VolumeTracings.csv and Videos/*.avi.

The published split and the labels EF, ESV and EDV are kept; the two traced frames of a video
become the labels ED_frame and ES_frame. Invariant: every row of FileList.csv is a clip;
one whose file is missing is excluded with that reason. The frames stay where they are licensed.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from echosweep.config import PrepareConfig
from echosweep.data import video
from echosweep.data.source import Clip, Frame, Listing, read_number, read_split, read_table
from echosweep.data.tree import FileTree
from echosweep.errors import UsageError

LOOKS_FOR = "an EchoNet-Dynamic folder (FileList.csv and Videos/)"
Traced = dict[str, dict[str, float | str]]
_LABELS = ("EF", "ESV", "EDV")


def count(tree: FileTree) -> int:
    """Return 1 if `tree` has a FileList.csv, else 0."""
    return int(tree.find("FileList.csv") is not None)


def clips(tree: FileTree, config: PrepareConfig) -> Listing:
    """Return a clip for each row of FileList.csv, in its order.

    Raises UsageError for a missing file, folder or column, and for a video listed twice.
    """
    path = tree.root
    table = path / "FileList.csv"
    if not table.is_file() or not (path / "Videos").is_dir():
        raise UsageError(f"{path} is not {LOOKS_FOR}; give the folder that has both")
    rows = read_table(table, ["FileName", "Split", *_LABELS])
    traced = _traced_frames(path / "VolumeTracings.csv")
    listed = [_clip(row, path, traced) for row in rows]
    twice = [name for name, rows in Counter(clip.name for clip in listed).items() if rows > 1]
    if twice:
        raise UsageError(f"{table} lists {', '.join(twice[:3])} twice; keep one row each")
    return Listing(listed, "EchoNet-Dynamic", [table])


def decode(clip: Clip, every: int, channels: int) -> Iterator[Frame]:
    """Yield every `every`-th frame of the clip's file; see `video.decode`."""
    return video.decode(clip.path, every, channels, clip.frames)


def _clip(row: dict[str, str], root: Path, traced: Traced) -> Clip:
    stem = row["FileName"].removesuffix(".avi")
    file = root / "Videos" / f"{stem}.avi"
    promised = row.get("NumberOfFrames", "")
    labels = {key: read_number(row[key], root / "FileList.csv") for key in _LABELS if row[key]}
    return Clip(
        name=stem,
        path=file,
        split=read_split(row["Split"], root / "FileList.csv"),
        labels={**labels, **traced.get(stem, {})},
        frames=int(float(promised)) if promised.replace(".", "", 1).isdigit() else 0,
        fault="" if file.is_file() else "listed but missing",
    )


def _traced_frames(table: Path) -> Traced:
    """Return {"ED_frame": ..., "ES_frame": ...} of each traced video; nothing without the table."""
    chords: defaultdict[str, defaultdict[int, list[float]]]
    chords = defaultdict(lambda: defaultdict(list))
    needed = ["FileName", "X1", "Y1", "X2", "Y2", "Frame"]
    for row in read_table(table, needed) if table.is_file() else ():
        x1, y1, x2, y2, frame = (read_number(row[name], table) for name in needed[1:])
        chord = math.hypot(x2 - x1, y2 - y1)
        chords[row["FileName"].removesuffix(".avi")][int(frame)].append(chord)
    return {name: _phases(frames) for name, frames in chords.items()}


def _phases(chords: dict[int, list[float]]) -> dict[str, float | str]:
    """Name the larger ventricle ED and the smaller ES: the table does not say which is which.

    chords: lengths in pixels by frame, the long axis first, then the discs across it.
    """
    area = {
        frame: axis * sum(discs) / max(1, len(discs)) for frame, (axis, *discs) in chords.items()
    }
    if len(area) < 2:
        return {}
    return {
        "ED_frame": max(area, key=area.__getitem__),
        "ES_frame": min(area, key=area.__getitem__),
    }


def parent_of_videos(root: Path) -> Path | None:
    """Return the folder of a FileList.csv if `root` is its folder of videos, else None."""
    above = root.resolve().parent
    listed = root.name == "Videos" and (above / "FileList.csv").is_file()
    return above if listed else None
