"""Ours beside a peer, in pairs: one after the other, so that a machine's drift decides nothing.

The order alternates from pair to pair, and what counts is the ratio within a pair. A side that
needs a process set up its own way lives in one (`Side`) and works only while it is asked.
Invariant: no two sides ever run at the same time.
"""

import multiprocessing
import signal
import statistics
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, Self

Work = Callable[[], Any]
Built = tuple[Work, Any]  # and facts about it
_SPAWN = multiprocessing.get_context("spawn")  # a forked process would inherit our memory settings


class Options(NamedTuple):
    """What every benchmark is told.

    peers: the folder where other people's packages are kept. limit: seconds for an answer of a
    process, after which it is given up; None: no end.
    """

    pairs: int
    threads: int
    quick: bool
    peers: Path
    device: str = "cpu"
    limit: float | None = None


class Row(NamedTuple):
    """A line of the table: what was done, by whom, and ours against the peer pair by pair.

    ratios: the peer's seconds over ours, so above 1 we are faster; with better="lower", a cost of
    ours over the bare one. share: of the machine's ceiling. bar, share_bar: what they should reach,
    judged by the median. rate: images a second of ours. note: what a reader must know, or why
    nothing was measured.
    """

    what: str
    ours: str
    peer: str
    ratios: list[float]
    share: float | None = None
    bar: float | None = None
    better: str = "higher"
    share_bar: float | None = None
    rate: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Say whether the bars are met; None where there is none, or nothing was measured."""
        met = []
        if self.ratios and self.bar is not None:
            median = statistics.median(self.ratios)
            met.append(median >= self.bar if self.better == "higher" else median <= self.bar)
        if self.share is not None and self.share_bar is not None:
            met.append(self.share >= self.share_bar)
        return all(met) if met else None


def pairs(
    ours: Work, peer: Work, count: int, device: str | None = None
) -> list[tuple[float, float]]:
    """Return the seconds of (ours, peer) in each of `count` pairs; each is warmed up once before.

    device: "cuda" where the work of a GPU is to be waited for.
    """
    return [(a, b) for a, b in turns([ours, peer], count, device)]


def turns(works: Sequence[Work], count: int, device: str | None = None) -> list[list[float]]:
    """Return the seconds of each work in each of `count` rounds, whose order alternates."""
    for work in works:
        seconds(work, device)
    rounds = []
    for number in range(count):
        order = range(len(works))[:: -1 if number % 2 else 1]
        took = {i: seconds(works[i], device) for i in order}
        rounds.append([took[i] for i in range(len(works))])
    return rounds


def seconds(work: Work, device: str | None = None) -> float:
    """Return the seconds of one call, the device's work included; of a `Side`, by its own clock."""
    started = time.perf_counter()
    work()
    if device == "cuda":
        import torch

        torch.cuda.synchronize()
    return work.took if isinstance(work, Side) else time.perf_counter() - started


def medians(times: Sequence[Sequence[float]]) -> list[float]:
    """Return the median of each column."""
    return [statistics.median(column) for column in zip(*times, strict=True)]


def faster(times: Sequence[tuple[float, float]]) -> list[float]:
    """Return how many times faster ours is than the peer, pair by pair."""
    return [peer / ours for ours, peer in times]


def last_line(error: Exception) -> str:
    """Return what an error says in the end: under a traceback that is the error itself."""
    return str(error).strip().splitlines()[-1]


class Side:
    """A process of its own that does one piece of work whenever it is called.

    build: a function of a module, called there with `args`, that returns the work and facts about
    it. The process runs on the cores of this one. `took`: seconds of the last call; of one thread
    on a CPU those that it had its core, so that others on the machine count less. Raises
    RuntimeError with what went wrong there.
    """

    facts: Any
    took: float

    def __init__(self, options: Options, build: Callable[..., Built], *args: Any) -> None:
        self._limit, (self._pipe, there) = options.limit, _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(there, options.threads, build, args))
        self._process.start()
        there.close()
        self.facts = self._result()

    def __call__(self) -> Any:
        """Do the work once and return what it returns."""
        self._pipe.send(None)
        return self._result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._pipe.close()
        self._process.join()

    def _result(self) -> Any:
        if not self._pipe.poll(self._limit):
            self._process.kill()
            raise RuntimeError(f"no answer within {self._limit:g} s")
        try:
            value, self.took, failed = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(f"the process ended with {self._process.exitcode}") from None
        if failed:
            raise RuntimeError(failed)
        return value


def _serve(
    pipe: Connection, threads: int, build: Callable[..., Built], args: tuple[Any, ...]
) -> None:
    """Answer (value, seconds, what failed): once when built, then once for every question."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a word of its own
    torch.set_num_threads(threads)
    on_gpu = torch.cuda.is_available()
    clock = time.perf_counter if on_gpu or threads > 1 else time.process_time
    try:
        work, facts = build(*args)
        pipe.send((facts, 0.0, ""))
        while True:
            pipe.recv()
            started, value = clock(), work()
            if on_gpu:
                torch.cuda.synchronize()
            pipe.send((value, clock() - started, ""))
    except (EOFError, BrokenPipeError):  # whoever asked is gone
        return
    except Exception:
        pipe.send((None, 0.0, traceback.format_exc().strip()))
