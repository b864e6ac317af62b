"""Locks: a folder, or a file to be made, is one process's alone.

A lock is an empty file that its holder has locked (flock): the system frees it when the process
dies, and who holds it removes it in the end. Invariant: no link is followed to a lock file.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from echosweep.errors import UsageError

NAME = ".lock"


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold `directory`, made if need be, for this process alone.

    Raises UsageError if it cannot be made, or another process has it.
    """
    with held(directory / NAME, directory):
        yield


@contextlib.contextmanager
def held(lock: Path, what: Path) -> Iterator[None]:
    """Hold the file `lock`, made if need be and removed in the end, for this process alone.

    The system frees the lock of a process that dies. Raises UsageError, which names `what`, if the
    file cannot be made, or another process has it.
    """
    try:
        while not _is(lock, descriptor := _open_lock(lock)):
            os.close(descriptor)  # who had it has removed it meanwhile
    except BlockingIOError:
        raise UsageError(
            f"{what} is in use by another EchoSweep process; "
            "wait until it ends, or choose another --out"
        ) from None
    except OSError as error:
        raise UsageError(
            f"{what} cannot be written ({error.strerror}); choose a folder that can"
        ) from None
    try:
        if os.fstat(descriptor).st_size:
            raise UsageError(f"{lock} is no lock of EchoSweep, as it has content; move it away")
    except UsageError:
        os.close(descriptor)
        raise
    try:
        yield
    finally:
        if _is(lock, descriptor):
            lock.unlink()
        os.close(descriptor)


def _open_lock(lock: Path) -> int:
    """Return the lock file's descriptor, locked; raise BlockingIOError if another has it."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except FileNotFoundError:  # its folder has just been removed
        return _open_lock(lock)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _is(path: Path, descriptor: int) -> bool:
    """Say whether the open file is the one of that name."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
