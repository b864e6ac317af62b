"""Which file a name in a table means, where both were written by different hands.

Names are compared exactly first, then without what people and systems change: blanks, the kind of
slash, "./", the form of accents, case, the ending, the folders before a copied tree. Invariant: a
name is matched to one file or to none; where several fit, none is taken.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from echosweep.data.source import MISSING
from echosweep.data.table_rows import TableRow

_ENDINGS = {
    *(".avi", ".mp4", ".mov", ".mpeg", ".mpg", ".mkv", ".gif", ".webm", ".m4v", ".wmv"),
    *(".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".dcm", ".npy", ".npz"),
}
_ABSOLUTE = re.compile(r"([a-z][a-z0-9+.-]*:)?/", re.IGNORECASE)


class Named(NamedTuple):
    """A video that a table names.

    Attributes:
        name: The name of its file, or the name in the table where no file was found.
        path: Its file, or where that was looked for.
        rows: Its rows in the table.
        fault: Why it has no file; "" if it has one.
    """

    name: str
    path: Path
    rows: tuple[TableRow, ...]
    fault: str = ""


def match(wanted: Iterable[str], there: Mapping[str, Path]) -> dict[str, Path]:
    """Return the file of each name that means exactly one of the files that are there.

    Args:
        wanted: Names as a table has them; one that means no file, or several, is left out.
        there: The files by name, with forward slashes. No other file is ever matched.
    """
    return {name: files[0] for name, files in candidates(wanted, there).items() if len(files) == 1}


def candidates(wanted: Iterable[str], there: Mapping[str, Path]) -> dict[str, Sequence[Path]]:
    """Return the files that each name may mean, at the first level of likeness that has any.

    Args:
        wanted: Names as a table has them; one that means no file is left out.
        there: The files by name, with forward slashes.
    """
    cleaned = {name: clean_name(name) for name in wanted}
    waiting = [name for name in cleaned if cleaned[name]]
    found: dict[str, Sequence[Path]] = {name: (there[name],) for name in waiting if name in there}
    cleaned |= {name: clean_name(name) for name in there}
    indexes: dict[Callable[[str], str], Mapping[str, Mapping[Path, None]]] = {}
    for level in _LEVELS:
        waiting = [name for name in waiting if name not in found]
        keys = {name: list(level.wanted(cleaned[name])) for name in waiting}
        if not any(keys.values()):
            continue
        index = indexes.get(level.there)
        if index is None:
            index = indexes[level.there] = _index(level.there, cleaned, there)
        hits = {
            name: tuple(index[known[0]])
            for name in waiting
            if (known := [key for key in keys[name] if key in index])
        }
        found |= _unclaimed(hits, found) if level.loose else hits
    return found


def _index(
    key: Callable[[str], str], cleaned: Mapping[str, str], there: Mapping[str, Path]
) -> Mapping[str, Mapping[Path, None]]:
    """Return the files of each key, each file once: it may be there under two names."""
    index: defaultdict[str, dict[Path, None]] = defaultdict(dict)
    for name, path in there.items():
        index[key(cleaned[name])][path] = None
    return index


def clean_name(name: str) -> str:
    """Return a name with forward slashes, accents in one form, and without "./" and blanks.

    Args:
        name: A path as any system writes it; "a/../b" is "b".
    """
    if name.isascii() and "/" not in name and "\\" not in name and name.strip() != ".":
        return name.strip()
    text = unicodedata.normalize("NFC", name).replace("\\", "/").strip()
    parts: list[str] = []
    for part in (part.strip() for part in text.split("/")):
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return ("/" if text.startswith("/") else "") + "/".join(parts)


def leaves_folder(name: str) -> bool:
    """Return whether a name, as `clean_name` gives it, is absolute or begins with ".."."""
    return bool(_ABSOLUTE.match(name)) or name.split("/")[0] == ".."


def without_ending(name: str) -> str:
    """Return a name without the ending of a video, image or array; other dots are kept."""
    stem, dot, ending = name.rpartition(".")
    return stem if stem and f"{dot}{ending.lower()}" in _ENDINGS else name


def naming_notes(
    table: str,
    videos: Sequence[Named],
    files: Mapping[str, Sequence[Path]],
    there: Mapping[str, Path],
) -> list[str]:
    """Return notes on names that are written otherwise, and on a table that fits no file.

    Args:
        table: The name of the table.
        videos: The videos that it names.
        files: What `candidates` returned for its names.
        there: The files that there are, by name.
    """
    notes = []
    otherwise = [
        f"{name!r} is {path.name!r}"
        for name, (path, *more) in files.items()
        if not more and name.rpartition("/")[2] not in (path.name, path.stem)
    ]
    if otherwise:
        notes.append(
            f"{len(otherwise)} names in {table} are written otherwise than their files: "
            f"{otherwise[0]}"
        )
    missing = [video.name for video in videos if video.fault == MISSING]
    taken = {video.path for video in videos}
    spare = next((name for name, path in there.items() if path not in taken), None)
    if spare and 2 * len(missing) > len(videos):
        notes.append(
            f"{len(missing)} of {len(videos)} names in {table} fit no file: the table "
            f"says {missing[0]!r}, the folder has {spare!r}"
        )
    return notes


class _Level(NamedTuple):
    """A likeness: the keys of a wanted name, and the key of a file's; loose ones are unsure."""

    wanted: Callable[[str], Iterable[str]]
    there: Callable[[str], str]
    loose: bool = False


def _same(name: str) -> list[str]:
    return [name]


def _fold(name: str) -> str:
    return name.casefold()


def _folded(name: str) -> list[str]:
    return [name.casefold()]


def _stem(name: str) -> str:
    return without_ending(name).casefold()


def _stems(name: str) -> list[str]:
    return [_stem(name)]


def _tails(name: str) -> Iterable[str]:
    """Yield the ends of an absolute path, the longest first."""
    if _ABSOLUTE.match(name):
        parts = name.casefold().strip("/").split("/")
        yield from ("/".join(parts[at:]) for at in range(len(parts)))


def _tail_stems(name: str) -> Iterable[str]:
    return (without_ending(tail) for tail in _tails(name))


def _bare(name: str) -> list[str]:
    return [] if "/" in name else [name.casefold()]


def _bare_stem(name: str) -> list[str]:
    return [] if "/" in name else [_stem(name)]


def _last(name: str) -> str:
    return name.rpartition("/")[2].casefold()


def _last_stem(name: str) -> str:
    return without_ending(_last(name))


_LEVELS = (
    _Level(_same, str),
    _Level(_folded, _fold),
    _Level(_same, without_ending),
    _Level(_folded, _stem),
    _Level(_stems, _stem, loose=True),
    _Level(_tails, _fold, loose=True),
    _Level(_tail_stems, _stem, loose=True),
    _Level(_bare, _last, loose=True),
    _Level(_bare_stem, _last_stem, loose=True),
)


def _unclaimed(
    hits: Mapping[str, Sequence[Path]], found: Mapping[str, Sequence[Path]]
) -> dict[str, Sequence[Path]]:
    """Return the hits whose files no other name means: "a.mp4" is not a.avi if that is listed."""
    claims = Counter(path for files in (*found.values(), *hits.values()) for path in files)
    return {name: files for name, files in hits.items() if all(claims[path] == 1 for path in files)}
