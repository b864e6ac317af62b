"""Standard streams that may go away: who reads the progress may leave, and the work goes on.

A closed ssh, a `tee` that ended or `2>&1 | head` break the pipe of stderr. What was said there is
lost then, and nothing else. stdout carries results: there only a reader who has had enough, as
`| head`, is no error, while a full disk is one. Invariant: after `prepare` the descriptors 0 to 2
are open, so that no file that is opened later gets one of their numbers, and what is printed moves
no cursor: colours, bars and tables go through `console` and `table` alone.
"""

import errno
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

from echosweep.text import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_GONE = (errno.EPIPE, errno.EIO, errno.EBADF)  # a pipe, a terminal, a descriptor without its end


class Patient:
    """A text stream that forgives a lost reader; all else is the stream's own.

    Args:
        stream: what is written to.
        every: forgive every error of writing, as a full disk, not only a reader who left.
        plain: write what controls a terminal as escapes; ends of lines and tabs stay.
    """

    def __init__(self, stream: TextIO, *, every: bool, plain: bool = True) -> None:
        self._stream, self._every, self._plain = stream, every, plain

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write `text`, unless nobody reads any more; return its length."""
        try:
            self._stream.write(printable(text, "\n\t") if self._plain else text)
        except OSError as error:
            self._forgive(error)
        return len(text)

    @property
    def rich_proxied_file(self) -> "Patient":
        """Return the stream as rich writes to it: its own control characters are meant."""
        return Patient(self._stream, every=self._every, plain=False)

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


def table(*columns: str, title: str | None = None) -> "Table":
    """Return a table without lines whose cells are folded where they are too wide, never cut.

    A cell that is a str is shown as it is: it holds no markup, and controls no terminal.
    """
    from rich.table import Column, Table  # here, not above: `--help` need not wait for it
    from rich.text import Text

    class Shown(Table):
        def add_row(self, *cells: Any, **settings: Any) -> None:
            texts = [Text(printable(one)) if isinstance(one, str) else one for one in cells]
            super().add_row(*texts, **settings)

    headed = [Column(Text(printable(name)), overflow="fold") for name in columns]
    head = None if title is None else Text(printable(title))
    return Shown(*headed, title=head, box=None, padding=(0, 2, 0, 0))


def console(*, stderr: bool = False) -> "Console":
    """Return a console for tables and lines: text is shown as it is, as in `table`."""
    from rich.console import Console
    from rich.text import Text

    class Shown(Console):
        def print(self, *objects: Any, **settings: Any) -> None:
            super().print(*map(shown, objects), **settings)

    def shown(one: Any) -> Any:
        if isinstance(one, str):
            return printable(one, "\n")
        if isinstance(one, Text) and (plain := printable(one.plain, "\n")) != one.plain:
            return Text(plain)  # what was printed while a bar is drawn comes here
        return one

    return Shown(stderr=stderr, highlight=False, markup=False)


def _point_at_nothing(number: int) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    if nothing != number:
        os.dup2(nothing, number)
        os.close(nothing)
