"""Standard streams that may go away: who reads the progress may leave, and the work goes on.

A closed ssh, a `tee` that ended or `2>&1 | head` break the pipe of stderr. What was said there is
lost then, and nothing else. stdout carries results: there only a reader who has had enough, as
`| head`, is no error, while a full disk is one. Invariant: after `prepare` the descriptors 0 to 2
are open, so that no file that is opened later gets one of their numbers.
"""

import errno
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from rich.table import Table

_GONE = (errno.EPIPE, errno.EIO, errno.EBADF)  # a pipe, a terminal, a descriptor without its end


class Patient:
    """A text stream that forgives a lost reader; all else is the stream's own.

    Args:
        stream: what is written to.
        every: forgive every error of writing, as a full disk, not only a reader who left.
    """

    def __init__(self, stream: TextIO, *, every: bool) -> None:
        self._stream, self._every = stream, every

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write `text`, unless nobody reads any more; return its length."""
        try:
            self._stream.write(text)
        except OSError as error:
            self._forgive(error)
        return len(text)

    def flush(self) -> None:
        """Flush the stream, unless nobody reads any more."""
        try:
            self._stream.flush()
        except OSError as error:
            self._forgive(error)

    def _forgive(self, error: OSError) -> None:
        if error.errno not in _GONE and not self._every:
            raise error
        if error.errno in _GONE:  # what waits in buffers goes there too, at the end
            _point_at_nothing(self._stream.fileno())


def prepare() -> None:
    """Open what is closed of the standard streams; let stdout and stderr lose their readers."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            _point_at_nothing(number)
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115 - to the process's end
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path can hold any byte
    sys.stdout = cast(TextIO, Patient(sys.stdout, every=False))
    sys.stderr = cast(TextIO, Patient(sys.stderr, every=True))


def table(*columns: str) -> "Table":
    """Return a table without lines whose cells are folded where they are too wide, never cut."""
    from rich.table import Column, Table  # here, not above: `--help` need not wait for it

    headed = [Column(name, overflow="fold") for name in columns]
    return Table(*headed, box=None, padding=(0, 2, 0, 0))


def _point_at_nothing(number: int) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    if nothing != number:
        os.dup2(nothing, number)
        os.close(nothing)
