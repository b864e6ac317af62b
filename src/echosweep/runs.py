"""Files that are whole or absent: atomic writes, content hashes, signed records.

Everything that EchoSweep writes goes to a temporary name, is synced and then renamed, so that a
reader never meets half a file and an interrupted command can be started again.
Invariant: a path that exists under its final name is complete.
"""

import contextlib
import errno
import fcntl
import glob
import hashlib
import json
import os
import secrets
import shlex
import stat
import sys
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from echosweep import bounded, places
from echosweep.errors import EchoSweepError, UsageError
from echosweep.text import printable

PNG, PAGE = b"\x89PNG\r\n\x1a\n", b"<!doctype html>"  # how files begin that may be overwritten
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CHUNK = 1 << 22
_LONGEST_NAME = 255  # bytes, on every usual file system
_MOST_RECORD, _MOST_LINES = 1 << 26, 1 << 30  # bytes of a record, and of all lines of a log


def sha256_file(path: Path) -> str:
    """Return the hex SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with bounded.open_file(path) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def checksum(data: bytes | memoryview, before: int = 0) -> int:
    """Return the CRC-32 of `data`, 1 in place of 0, which marks what is not there.

    It tells damage, at the speed of memory; what may have been changed on purpose has a SHA-256.

    Args:
        data: The bytes.
        before: The checksum of what comes before them.
    """
    return zlib.crc32(data, before) or 1


def canonical_json(value: Any) -> str:
    """Return `value` as JSON with sorted keys and no spaces: equal values, equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def signature(value: Any, length: int = 16) -> str:
    """Return the first `length` hex digits of the SHA-256 of `value`'s canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode(errors="surrogatepass")).hexdigest()[:length]


def fsync_directory(path: Path) -> None:
    """Make a rename inside the directory `path` durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make the bytes of the file `path` durable."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def atomic_write(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write(file)` fill a temporary file beside `path`, sync it and rename it to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        with temporary.open("xb") as file:  # x: never what is there, nor where a link leads
            fcntl.flock(file, fcntl.LOCK_EX)  # who writes it lives: see remove_temporaries
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = error.filename or str(path)  # a full disk has no name of its own
        raise
    fsync_directory(path.parent)


def temporary_path(path: Path) -> Path:
    """Return where this process writes what will be renamed to `path`: a name for one use."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.{os.getpid()}.tmp")


def remove_temporaries(folder: Path, name: str = "*", alone: bool = False) -> None:
    """Remove the temporary files that processes which have died left directly in `folder`.

    Args:
        folder: Where to look; nothing is done where there is none.
        name: The final name whose temporary files are meant; a pattern as of `glob`.
        alone: Whether this process holds the folder: then a number that another process has now,
            as in a container that was started anew, means nothing.
    """
    for path in folder.glob(f".{name}.*.tmp"):
        pid = path.name.split(".")[-2]
        if not pid.isdigit() or path.is_symlink() or (_lives(int(pid)) and not alone):
            continue
        with contextlib.suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of another node's processes too
            path.unlink()


def _lives(pid: int) -> bool:
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def command_line(*words: object) -> str:
    """Return a command as it can be pasted: `echosweep` and words, each quoted where it needs be.

    What stands for a value, as STORE, is a word like others.
    """
    return shlex.join(["echosweep", *map(str, words)])


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically, as UTF-8.

    What is not UTF-8 in a file's name becomes an escape, \\udcff, that JSON reads back.
    """
    atomic_write(path, lambda file: file.write(text.encode(errors="backslashreplace")))


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` atomically, as indented JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_record(path: Path, value: Mapping[str, Any]) -> None:
    """Write `value` to `path` atomically, as JSON with a signature of itself."""
    write_json(path, {**value, "signature": signature(value)})


def read_signed(path: Path, fix: str) -> dict[str, Any]:
    """Return what `write_record` wrote; as `read_record`, but it must have its signature."""
    return read_record(path, fix, signed=True)


def read_record(path: Path, fix: str, *, signed: bool = False) -> dict[str, Any]:
    """Return a JSON mapping, checked against its signature where it has one.

    Args:
        path: The file.
        fix: What to do where it is damaged: the end of the error.
        signed: Refuse one without a signature.

    Raises:
        EchoSweepError: It is damaged.
        FileNotFoundError: It is not there.
    """
    try:
        value = json.loads(bounded.read_bytes(path, _MOST_RECORD))
        found = signature({k: v for k, v in value.items() if k != "signature"})
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise EchoSweepError(f"{path} cannot be read: {error.strerror}; {fix}") from None
    except AttributeError:
        raise EchoSweepError(f"{path} is damaged (it holds no mapping); {fix}") from None
    except (ValueError, RecursionError) as error:
        raise EchoSweepError(f"{path} is damaged ({str(error)[:200]}); {fix}") from None
    assert isinstance(value, dict)
    if value.pop("signature", None if signed else found) != found:
        raise EchoSweepError(f"{path} does not match its signature: it was changed; {fix}")
    return value


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a JSON-lines file; a last line cut by a crash is passed over.

    Raises EchoSweepError for a file that cannot be read.
    """
    try:
        lines = bounded.read_bytes(path, _MOST_LINES).split(b"\n")[:-1]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise EchoSweepError(f"{path} cannot be read: {error.strerror}") from None
    rows = []
    for line in lines:
        with contextlib.suppress(ValueError, RecursionError):
            rows.append(json.loads(line))
    return [row for row in rows if isinstance(row, dict)]


def check_writable(file: Path, start: bytes | None = None) -> None:
    """Make the folder of `file`; raise UsageError if `file` could not be written there.

    What a process that has died left of an earlier attempt is removed.

    Args:
        file: The file to be written.
        start: How a file begins that may be overwritten; None: what it holds does not matter.
    """
    if len(os.fsencode(temporary_path(file).name)) > _LONGEST_NAME:
        raise UsageError(f"the name {file.name} is too long; choose a shorter one")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        found = file.lstat() if os.path.lexists(file) else None
        writable = os.access(file.parent, os.W_OK) and not file.is_dir()
    except OSError:
        writable = False
    if not writable:
        raise UsageError(f"{file} cannot be written; choose a file in a folder that can")
    if found and not (stat.S_ISREG(found.st_mode) and (start is None or _begins(file, start))):
        kind = {None: "plain file", PNG: "PNG", PAGE: "page of HTML"}.get(start, "file of ours")
        raise UsageError(
            f"{file} is there already, and is no {kind}: it is not overwritten; choose another name"
        )
    remove_temporaries(file.parent, glob.escape(file.name))


def check_record(file: Path) -> None:
    """Raise UsageError if `file` cannot be written, or is there and is no record of a command."""
    check_writable(file)
    if file.exists() and b'"environment": {' not in file.read_bytes():
        raise UsageError(
            f"{file} is there already, and is no whole record of EchoSweep: it is not overwritten; "
            "move it away, or choose another folder"
        )


def _begins(file: Path, start: bytes) -> bool:
    try:
        with file.open("rb") as opened:
            return opened.read(len(start)).lower() == start.lower()
    except OSError:
        return False


def cache_folder(given: str | Path | None) -> Path:
    """Return the folder for caches: the one given, ECHOSWEEP_CACHE, or ~/.cache/echosweep.

    Who has no home that can be written gets a private folder in the temporary directory, with a
    note. It is made here, for its owner alone, as features are of patients; one that is there keeps
    its mode. A folder that cannot be written is a UsageError now, not hours later.
    """
    given = given or os.environ.get("ECHOSWEEP_CACHE")
    folder = places.made(Path(given or "~/.cache/echosweep"))
    if given and folder is None:
        raise UsageError(
            f"cache folder {given} cannot be written; pass --cache DIR or set ECHOSWEEP_CACHE=DIR"
        )
    if folder is None or (not given and places.home_is_private()):
        folder = places.private_folder()
        _note_once(
            f"note: there is no home folder that can be written, so the cache is {folder}; "
            "set HOME or ECHOSWEEP_CACHE to keep it elsewhere"
        )
    return folder


def note_finished(out: Path) -> None:
    """Say that what was asked for is there, so that nothing was done."""
    print(printable(f"note: {out} is finished already"), file=sys.stderr)


@cache
def _note_once(text: str) -> None:
    print(printable(text), file=sys.stderr)
