"""Read files that others made: regular ones only, and never more than a bound.

A name can stand for a pipe, which nobody may ever write to, or for a device without an end; a file
can be longer than the memory. Invariant: what is refused is an OSError, as of a file that cannot be
read, and its `strerror` says why.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

_MEGA = 1 << 20


def open_file(path: str | Path) -> BinaryIO:
    """Open a regular file to read its bytes; never wait.

    Raises:
        OSError: It cannot be opened, or is a folder, a pipe, a socket or a device.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    raise OSError(errno.EINVAL, "it is a pipe or a device, not a file", str(path))


def read_bytes(path: str | Path, most: int) -> bytes:
    """Return the bytes of a regular file.

    Args:
        path: The file.
        most: How many bytes it may have.

    Raises:
        OSError: It cannot be read, is no regular file, or has more bytes.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            allowed = f"{most // _MEGA} MiB" if most >= _MEGA else f"{most // 1024} KiB"
            raise OSError(errno.EINVAL, f"it has more than {allowed}", str(path))
        return file.read(size)  # as many as are asked for are allocated before
