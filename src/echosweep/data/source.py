"""What a source of data is: something that lists video clips, and decodes one clip at a time.

Listing is cheap and opens no video; decoding happens in other processes, so a `Clip` is plain data.
Invariant: a broken clip raises (or carries) a reason and never stops the others.
"""

import csv
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from PIL import Image

from echosweep.data.store import SPLITS
from echosweep.errors import UsageError


class Broken(Exception):
    """A clip that cannot be used; its text is the reason that the manifest keeps."""


class Frame(NamedTuple):
    """A decoded frame: its number in the clip, the image ("L" or "RGB"), luma from 16 to 235?"""

    number: int
    image: Image.Image
    limited: bool = False


@dataclass(frozen=True)
class Clip:
    """One video of a source before it is decoded.

    name: unique within the source, kept in the store. path: the file (or folder, or array) it is
    in; item: its row there. split, patient: None where the source does not say. frames: how many
    the source promises, 0 if unknown. fault: why it cannot be read, where the listing shows that.
    crop: (left, top, right, bottom) in pixels. note: what was done to it, counted in the manifest.
    """

    name: str
    path: Path
    split: str | None = None
    patient: str | None = None
    labels: Mapping[str, float | str] = field(default_factory=dict)
    frames: int = 0
    fault: str = ""
    item: int = 0
    crop: tuple[int, int, int, int] | None = None
    note: str = ""


class Source(Protocol):
    """A kind of data: a module with these functions, known by its line in `SOURCES`."""

    LOOKS_FOR: str
    """What `count` looks for, in words for error messages."""

    def count(self, path: Path) -> int:
        """Return how many files of this kind `path` holds: 0 if it is another kind of source."""

    def clips(self, path: Path) -> list[Clip]:
        """Return the clips in `path` in a fixed order; raise UsageError for a wrong layout."""

    def decode(self, clip: Clip, every: int, channels: int) -> Iterator[Frame]:
        """Yield frames 0, every, 2 every, ... of `clip`; raise `Broken` (or anything) if broken.

        With channels == 1 a grey image is enough, where that is cheaper than colour.
        """


def files(path: Path, suffixes: Iterable[str]) -> list[Path]:
    """Return `path` itself, or the files below it, that end in one of `suffixes`; sorted."""
    found = [path] if path.is_file() else visible(path)
    return [file for file in found if file.suffix.lower() in suffixes]


def visible(path: Path) -> list[Path]:
    """Return the files below the folder `path` without hidden ones and hidden folders, sorted."""
    found = []
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(folder, name) for name in names if not name.startswith(".")]
    return sorted((file for file in found if file.is_file()), key=lambda file: file.parts)


def relative(file: Path, root: Path) -> str:
    """Return the name of `file` within the source `root`, with forward slashes."""
    return file.name if file == root else file.relative_to(root).as_posix()


def read_table(path: Path, required: Iterable[str]) -> list[dict[str, str]]:
    """Return the rows of a CSV file; raise UsageError if it has not the `required` columns."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = list(reader.fieldnames or ())
            missing = [name for name in required if name not in columns]
            if missing:
                raise UsageError(
                    f"{path} has no column {', '.join(missing)}; it has: "
                    f"{', '.join(columns) or 'nothing'}"
                )
            return [
                {key: (value or "").strip() for key, value in row.items() if key is not None}
                for row in reader
            ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} is not a CSV file in UTF-8: {error}") from None


def read_labels(row: Mapping[str, str], skip: Iterable[str]) -> dict[str, float | str]:
    """Return the cells of `row` that are filled, numbers as numbers, except the columns `skip`."""
    return {key: _number(cell) for key, cell in row.items() if cell and key not in skip}


def read_split(text: str, where: Path) -> str | None:
    """Return a split by its name in any case, None if `text` is empty; raise UsageError else."""
    if text and text.lower() not in SPLITS:
        raise UsageError(f"split {text!r} in {where} is not one of {', '.join(SPLITS)}")
    return text.lower() or None


def read_number(text: str, where: Path) -> float:
    """Return a finite number; raise UsageError for anything else."""
    number = _number(text)
    if isinstance(number, str):
        raise UsageError(f"{where} has {text!r} where a number should be")
    return number


def _number(text: str) -> float | str:
    """Return a finite number, else the text: NaN has no place in JSON, nor among labels."""
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text
