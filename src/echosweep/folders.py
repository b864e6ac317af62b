"""Folders that are whole or absent: made beside their place, published by one rename.

    OUT.partial/task.json   what is being made, and that EchoSweep makes it
    OUT.partial/...         what only resuming needs
    OUT.partial/content/    what becomes OUT

Each moment is one from which the same call goes on: begun, published, cleared. Invariant: a folder
is entered, and a file removed, only if everything there has a name of ours and is a plain file or
folder, no link, beside a task that we wrote; else nothing in it is touched.
"""

import contextlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from echosweep import locks, places, runs
from echosweep.errors import EchoSweepError, UsageError

TASK, CONTENT = "task.json", "content"
_FORMAT = 1  # of the partial folder
_TEMPORARY = re.compile(r"(.*/)?\.([^/]+?)(?:\.[0-9a-f]{8})?\.\d+\.tmp")


def partial_path(out: Path) -> Path:
    """Return where the unfinished folder `out` lives; raise UsageError for `/`, `.` and `..`."""
    if out.name in ("", ".."):
        raise UsageError(f"{out} is there already; give the name of a folder to make")
    return out.with_name(out.name + ".partial")


def content_path(out: Path) -> Path:
    """Return the folder that becomes `out`."""
    return partial_path(out) / CONTENT


@contextlib.contextmanager
def begun(out: Path, task: Mapping[str, Any], names: str) -> Iterator[Path]:
    """Make or re-enter `OUT.partial`, locked; clear it once its content is published.

    An EchoSweepError within, which the same call would meet again, leaves no new one behind.

    Args:
        out: The folder to be made.
        task: What decides its content, as JSON; a folder of another task is refused.
        names: A regular expression: the names that may lie in the partial folder, those in a
            folder as "content/a.json", a folder as "content/".

    Raises:
        UsageError: `out` is taken, or its partial folder is in use, of another task or not ours.
    """
    places.check_free(out)
    partial = partial_path(out)
    if os.path.lexists(partial):  # before a lock is put there
        _check_ours(partial, names)
    try:
        with locks.locked(partial):
            places.check_free(out)  # who had the lock before may have made it
            _check_ours(partial, names)
            _remove_temporaries(partial)
            new = _claim(partial, task)
            try:
                yield partial
            except EchoSweepError:
                if new:
                    _clear(partial, names)
                raise
            finally:
                if not (partial / CONTENT).is_dir():
                    _clear(partial, names)
    finally:
        _remove_empty(partial)  # not before its lock is gone


def publish(out: Path) -> None:
    """Give the content of the partial folder, which is whole and synced, its name."""
    content_path(out).rename(out)
    runs.fsync_directory(out.parent)


def clear_published(out: Path, names: str) -> None:
    """Remove what making the finished folder `out` left beside it, if that is ours and unused."""
    partial = partial_path(out)
    with contextlib.suppress(EchoSweepError):  # it is left as it is
        if os.path.lexists(partial) and not content_path(out).exists():
            _check_ours(partial, names)
            with locks.locked(partial):
                _clear(partial, names)
            _remove_empty(partial)


def discard(out: Path, names: str) -> None:
    """Remove the partial folder of `out`, which this process holds: nothing in it is of use."""
    _clear(partial_path(out), names)


def read_task(partial: Path) -> dict[str, Any] | None:
    """Return the task of a partial folder; None where there is none."""
    try:
        record = runs.read_record(partial / TASK, f"remove {partial} to start over")
    except (FileNotFoundError, NotADirectoryError):
        return None
    task = record.get("task") if record.get("partial") == _FORMAT else None
    return task if isinstance(task, dict) else None


def signatures(task: Mapping[str, Any]) -> dict[str, str]:
    """Return a signature of each part of a task: what a finished folder says of how it was made."""
    return {name: runs.signature(value) for name, value in task.items()}


def check_same(out: Path, found: Mapping[str, str], task: Mapping[str, Any]) -> None:
    """Raise UsageError that names what differs unless the finished `out` is of this task."""
    wanted = signatures(task)
    if wrong := sorted(k for k in {*found, *wanted} if found.get(k) != wanted.get(k)):
        raise UsageError(
            f"{out} exists already, made with other settings or of other input "
            f"({', '.join(wrong)}); remove it, or choose another --out"
        )


def remove_files(folder: Path, names: tuple[str, ...]) -> None:
    """Remove the files of a folder of ours by name, and the folder if nothing else is there."""
    if folder.is_symlink():
        raise UsageError(f"{folder} is a link; remove it yourself")
    for name in names:
        (folder / name).unlink(missing_ok=True)
    _remove_empty(folder)


def open_plain(path: Path, mode: str, more: int = 0) -> IO[Any]:
    """Open a file as `open` does, but never through a link. more: further flags of `os.open`."""

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | more | os.O_NOFOLLOW, 0o666)

    return open(path, mode, opener=opener)


def _claim(partial: Path, task: Mapping[str, Any]) -> bool:
    """Write the task of a new folder, check that of another; say whether it is new."""
    wanted, found = json.loads(json.dumps(task)), read_task(partial)
    if found is not None and found != wanted:
        keys = sorted(k for k in {*found, *wanted} if found.get(k) != wanted.get(k))
        raise UsageError(
            f"{partial} was begun with other settings ({', '.join(keys)}); give the same "
            "again to continue, or remove that folder to start over"
        )
    if found is None:
        runs.write_record(partial / TASK, {"partial": _FORMAT, "task": wanted})
    (partial / CONTENT).mkdir(exist_ok=True)
    return found is None


def _check_ours(partial: Path, names: str) -> None:
    """Raise UsageError unless EchoSweep made the folder, and only what it makes is there."""
    if why := _why_foreign(partial, names):
        raise UsageError(
            f"{partial} is not as EchoSweep left it ({why}), so nothing in it is touched; move "
            "that away, or choose another --out"
        )


def _why_foreign(partial: Path, names: str) -> str | None:
    found = partial.lstat()
    if not stat.S_ISDIR(found.st_mode):
        return "it is a link" if stat.S_ISLNK(found.st_mode) else "it is no folder"
    sticky = partial.absolute().parent.stat().st_mode & stat.S_ISVTX
    if sticky and found.st_uid != os.geteuid():  # as in /tmp, where anyone may make one
        return "it is another user's"
    own, empty = re.compile(names), True
    for name, entry in _entries(partial):
        if why := _why_strange(name, entry, own):
            return why
        empty = empty and (name == locks.NAME or _final(name) == TASK)
    return "it has no task.json of ours" if not empty and read_task(partial) is None else None


def _why_strange(name: str, entry: os.DirEntry[str], own: re.Pattern[str]) -> str | None:
    """Return why an entry is none of ours; None if it is."""
    if entry.is_symlink():
        return f"{name} is a link"
    if entry.is_dir(follow_symlinks=False):
        known = name == CONTENT or own.fullmatch(f"{name}/")
        return None if known else f"it holds the folder {name}"
    found = entry.stat(follow_symlinks=False)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        return f"{name} is no plain file, or has a second name"
    if name == locks.NAME and not found.st_size:
        return None
    final = _final(name) or name
    return None if final == TASK or own.fullmatch(final) else f"it holds {name}"


def _final(name: str) -> str | None:
    """Return the name that a temporary file of ours was to get; None for another file."""
    found = _TEMPORARY.fullmatch(name)
    return f"{found[1] or ''}{found[2]}" if found else None


def _entries(folder: Path, before: str = "") -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield all that is below a folder, each folder before what it holds, by relative name."""
    with os.scandir(folder) as entries:
        for entry in entries:
            yield before + entry.name, entry
            if entry.is_dir(follow_symlinks=False):
                yield from _entries(Path(entry), f"{before}{entry.name}/")


def _remove_temporaries(partial: Path) -> None:
    for folder in (partial, *(Path(e) for _, e in _entries(partial) if e.is_dir())):
        runs.remove_temporaries(folder, alone=True)


def _clear(partial: Path, names: str) -> None:
    """Remove what is listed, the task last; the lock, which is held, and the folder remain."""
    if _why_foreign(partial, names):
        return
    below = [(name, Path(entry)) for name, entry in _entries(partial)]
    for name, path in reversed(below):
        if path.is_dir():
            path.rmdir()
        elif name not in (TASK, locks.NAME):
            path.unlink()
    (partial / TASK).unlink(missing_ok=True)


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not empty: not all of it is ours, or another has begun
        folder.rmdir()
