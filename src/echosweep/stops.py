"""How a command is asked to stop: Ctrl-C, the end of a time slice, a terminal that closes.

SIGINT is the user's and ends with exit code 130. SIGTERM and SIGUSR1 (a queue that takes the node
back) and SIGHUP (a terminal that closed) end with 75, EX_TEMPFAIL: the same command, queued again,
continues. Invariant: a signal that was ignored when the process began, as under `nohup`, stays
ignored.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

_AGAIN = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
_SAME = 1.0  # seconds: closing shells and launchers signal twice and mean one stop


class Stopped(KeyboardInterrupt):
    """The work was asked to stop by a signal."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def exit_code(self) -> int:
        """Return 130 after Ctrl-C, else 75: to be queued again."""
        return 130 if self.number == signal.SIGINT else 75


class Aborted(Stopped):
    """A second signal: the work ends where it is, and what it had is not saved."""


class StopSignal:
    """A context in which signals only set `asked`, so that work ends at its next place to stop.

    asked: the number of the signal, or 0. Another signal, later than a second after the first,
    raises `Aborted` at once. Elsewhere than in the main thread the context does nothing.
    """

    def __init__(self) -> None:
        self.asked = 0
        self._since = 0.0
        self._leave = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._leave.enter_context(_handled((signal.SIGINT, *_AGAIN), self._handle))
        return self

    def __exit__(self, *exception: object) -> None:
        self._leave.close()

    def check(self) -> None:
        """Raise `Stopped` if a signal has come."""
        if self.asked:
            raise Stopped(self.asked)

    def _handle(self, number: int, frame: object) -> None:
        if not self.asked:
            self.asked, self._since = number, time.monotonic()
        elif time.monotonic() - self._since > _SAME:
            raise Aborted(self.asked)


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Raise `Stopped` within when SIGTERM, SIGUSR1 or SIGHUP comes, as Ctrl-C always does."""

    def stop(number: int, frame: object) -> None:
        raise Stopped(number)

    with _handled(_AGAIN, stop):
        yield


def ignore() -> None:
    """Ignore all signals that ask to stop: the process ends, with a code that is decided."""
    for number in (signal.SIGINT, *_AGAIN):
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def _handled(numbers: Sequence[int], handle: Callable[[int, object], None]) -> Iterator[None]:
    """Have `handle` called within for these signals, in this process and not in its forks."""
    before: dict[int, Any] = {}
    owner = os.getpid()

    def here(number: int, frame: object) -> None:
        if os.getpid() == owner:
            handle(number, frame)
        else:  # a fork that did not ask for this
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    try:
        if threading.current_thread() is threading.main_thread():
            for number in numbers:
                if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
                    before[number] = signal.signal(number, here)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
