"""Any folder of video files, with an optional table that says what they show.

`videos.csv` (or `labels.csv`) in the folder: a column `file`, and any of `patient`, `split` and
labels. Subfolder names become the label "folder". Invariant: the table adds to what lies in the
folder; a file that it lists and that is missing is excluded with that reason, not forgotten.
"""

from collections.abc import Iterator
from pathlib import Path

from echosweep.config import PrepareConfig
from echosweep.data import video
from echosweep.data.source import (
    Clip,
    Frame,
    Listing,
    read_labels,
    read_split,
    read_table,
)
from echosweep.data.tree import FileTree
from echosweep.errors import UsageError

TABLES = ("videos.csv", "labels.csv")
LOOKS_FOR = "video files (" + " ".join(suffix[1:] for suffix in video.SUFFIXES) + ")"


def count(tree: FileTree) -> int:
    """Return the number of video files in `tree`; 0 in a folder with EchoNet's FileList.csv."""
    return 0 if tree.find("FileList.csv") else len(tree.ending(video.SUFFIXES))


def clips(tree: FileTree, config: PrepareConfig) -> Listing:
    """Return a clip for each video below `path` and each row of its table, sorted by name."""
    found = {tree.name(file): file for file in tree.ending(video.SUFFIXES)}
    rows = _table(tree.root)
    listed = [
        _clip(name, found.get(name), tree.root, rows.get(name, {}))
        for name in sorted({*found, *rows})
    ]
    return Listing(listed, "video files")


def decode(clip: Clip, every: int, channels: int) -> Iterator[Frame]:
    """Yield every `every`-th frame of the clip's file; see `video.decode`."""
    return video.decode(clip.path, every, channels, clip.frames)


def _table(path: Path) -> dict[str, dict[str, str]]:
    """Return the rows of the folder's table by file; raise UsageError for a file listed twice."""
    table = next((path / name for name in TABLES if (path / name).is_file()), None)
    rows: dict[str, dict[str, str]] = {}
    if table is None:
        return rows
    for row in read_table(table, ["file"]):
        if row["file"] in rows:
            raise UsageError(f"{table} lists {row['file']!r} twice; keep one of the two rows")
        rows[row["file"]] = row | {"split": read_split(row.get("split", ""), table) or ""}
    return rows


def _clip(name: str, file: Path | None, root: Path, row: dict[str, str]) -> Clip:
    parent = Path(name).parent.as_posix()
    labels = {} if parent == "." else {"folder": parent}
    return Clip(
        name=name,
        path=file or root / name,
        split=row.get("split") or None,
        patient=row.get("patient") or None,
        labels={**labels, **read_labels(row, skip=("file", "patient", "split"))},
        fault="" if file else "listed but missing",
    )
