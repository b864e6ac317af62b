"""Progress on stderr: a live bar on a terminal, a line now and then elsewhere (Slurm, CI).

Long functions take `progress: Progress = silent` and call it; who calls them owns the bar.
"""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from typing import Protocol

from echosweep.streams import console
from echosweep.text import printable

_SECONDS_BETWEEN_LINES = 15.0


class Progress(Protocol):
    """Called as `progress(done, total, units)`: steps done of total, and units so far."""

    def __call__(self, done: int, total: int, units: float | None = None) -> None:
        """Note that `done` of `total` steps, and `units` of work, are behind us."""


def silent(done: int, total: int, units: float | None = None) -> None:
    """Show nothing: the default of every `progress` argument."""


class Show(Protocol):
    """Called as `show(title, unit)`, it gives a `Progress` for one stage: `bar` is one."""

    def __call__(self, title: str, unit: str) -> contextlib.AbstractContextManager[Progress]:
        """Begin to show a stage; its end is the end of the context."""


@contextlib.contextmanager
def hidden(title: str, unit: str) -> Iterator[Progress]:
    """Show no stage: the default of every `show` argument."""
    yield silent


def leads() -> bool:
    """Say whether this process speaks: the first of those that `torchrun` started, or the only."""
    return os.environ.get("RANK", "0") == "0"


@contextlib.contextmanager
def bar(title: str, unit: str) -> Iterator[Progress]:
    """Yield a `Progress` that shows `title`, steps, the rate in `unit`/s and the time left."""
    if not leads():
        yield silent
    elif sys.stderr.isatty():
        with _live_bar(title, unit) as progress:
            yield progress
    else:
        yield _lines(title, unit)


@contextlib.contextmanager
def _live_bar(title: str, unit: str) -> Iterator[Progress]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console(stderr=True)) as live:
        task = live.add_task(printable(title), total=None, rate="")
        rate = _Rate(unit)

        def progress(done: int, total: int, units: float | None = None) -> None:
            live.update(task, completed=done, total=total, rate=rate(done, units))

        yield progress


def _lines(title: str, unit: str) -> Progress:
    rate, started, last = _Rate(unit), time.monotonic(), float("-inf")
    first: int | None = None

    def progress(done: int, total: int, units: float | None = None) -> None:
        nonlocal last, first
        first = done if first is None else first
        now = time.monotonic()
        if done < total and now - last < _SECONDS_BETWEEN_LINES:
            return
        last = now
        left = (now - started) / (done - first) * (total - done) if done > first else float("nan")
        eta = f", {left:.0f} s left" if 0 < left < float("inf") else ""
        print(
            f"{printable(title)}: {done}/{total}, {rate(done, units)}{eta}",
            file=sys.stderr,
            flush=True,
        )

    return progress


class _Rate:
    """The rate since the first call, so that resumed work is not counted as speed."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._first: tuple[float, float] | None = None

    def __call__(self, done: int, units: float | None) -> str:
        amount, now = float(done if units is None else units), time.monotonic()
        if self._first is None:
            self._first = amount, now
        start, then = self._first
        per_second = (amount - start) / (now - then) if now > then else 0.0
        return f"{per_second:,.{0 if per_second >= 100 else 1}f} {self._unit}/s"
