"""Decode clips in processes of their own and return the results in order.

A library can end its process on a damaged file, or compute for ever. So no clip is decoded in this
process: one whose decoder crashes twice (memory may have been short), or shows no frame for too
long, is left out with that reason. At most two clips a process are on their way, so memory is
bounded and a slow reader slows the decoders. Invariant: result i belongs to clip i, and a broken
clip is a result with a fault.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from echosweep import places
from echosweep.data.clip_frames import Decoded, DecodeTask, broken, decode_clip
from echosweep.data.source import Clip
from echosweep.errors import EchoSweepError

_AHEAD = 2  # clips on their way a process
_COMPUTING, _WAITING = 60, 600  # seconds of the processor, and of the clock, without a frame
_DESCRIPTORS = 6  # of a process, while it starts
_CRASHED = "its decoder crashed: the file is damaged, or memory ran out"
_TOO_SLOW = {
    -signal.SIGPROF: f"damaged: its decoder computed for {_COMPUTING} s without a frame",
    -signal.SIGALRM: f"damaged: its decoder showed no frame in {_WAITING} s",
}
"""The reason by the exit code of a process that its timer ended."""


def decoded(task: DecodeTask, clips: Sequence[Clip], workers: int) -> Generator[Decoded]:
    """Yield the result of each clip, in order.

    Args:
        task: What to do with each.
        clips: What to decode.
        workers: How many processes decode.

    Raises:
        EchoSweepError: No process can be started.
    """
    waiting, results = deque(range(len(clips))), dict[int, Decoded]()
    crashed: set[int] = set()
    with contextlib.closing(_Crew(task, workers)) as crew:
        for number in range(len(clips)):
            while number not in results:
                for worker in crew.idle:
                    if waiting and waiting[0] < number + _AHEAD * workers:
                        worker.begin(waiting[0], clips[waiting.popleft()])
                for done, result in crew.results():
                    if result.fault == _CRASHED and done not in crashed:
                        crashed.add(done)
                        waiting.appendleft(done)
                    else:
                        results[done] = result
            yield results.pop(number)


class _Crew:
    """The processes that decode; each is replaced when a clip ends it."""

    def __init__(self, task: DecodeTask, workers: int) -> None:
        _check_descriptors(_DESCRIPTORS * (workers + 1))
        self._task = task
        self._workers = [_Worker(task) for _ in range(workers)]

    @property
    def idle(self) -> list["_Worker"]:
        """Return those that have no clip."""
        return [worker for worker in self._workers if worker.number is None]

    def results(self) -> Iterator[tuple[int, Decoded]]:
        """Wait; yield number and result of each clip that is done."""
        busy = {w.connection: w for w in self._workers if w.number is not None}
        for connection in wait([*busy]):
            worker = busy[connection]  # type: ignore[index]  # what was given is returned
            assert worker.number is not None
            result, number = worker.end(), worker.number
            worker.number = None
            if worker.has_ended:
                self._workers[self._workers.index(worker)] = _Worker(self._task)
            yield number, result

    def close(self) -> None:
        """End all processes."""
        for worker in self._workers:
            worker.close()


class _Worker:
    """A process that decodes one clip after the other.

    Attributes:
        number: The place, among all clips, of the one that it decodes now; None if it has none.
        connection: It can be read when the process has a result, or has ended.
    """

    def __init__(self, task: DecodeTask) -> None:
        self._task, self._is_ready = task, False
        self.number: int | None = None
        self.has_ended = False
        context = places.fork_server()  # a fork would copy torch's threads half-way
        context.set_forkserver_preload([__name__])
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, task, Path.cwd()))
        with sparing_workers():
            self._process.start()
        theirs.close()

    def begin(self, number: int, clip: Clip) -> None:
        """Let the process decode a clip; raise EchoSweepError if it did not even start."""
        self.number = number
        try:
            if not self._is_ready:
                self.connection.recv()
            self._is_ready = True
        except (EOFError, OSError):
            raise EchoSweepError(
                "decoder processes end at once: out of memory, killed, or started from a script "
                'without an `if __name__ == "__main__":` guard; run this again to continue'
            ) from None
        with contextlib.suppress(OSError):  # it has just been killed, which `end` will say
            self.connection.send(clip)

    def end(self) -> Decoded:
        """Return the result, or what the end of the process says."""
        try:
            result = self.connection.recv()
        except (EOFError, OSError):
            self.close()
            return broken(self._task, _TOO_SLOW.get(self._process.exitcode or 0, _CRASHED))
        if isinstance(result, BaseException):
            raise result
        assert isinstance(result, Decoded)
        return result

    def close(self) -> None:
        """End the process, if it has not ended."""
        self.has_ended = True
        self.connection.close()
        self._process.kill()
        self._process.join()


def _serve(connection: "Connection[Any, Any]", task: DecodeTask, folder: Path) -> None:
    """Decode what comes through `connection`, in this process of its own, until it is closed."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl-C is the parent's
    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)  # ends the process, whatever it computes
    begin_worker()
    with contextlib.suppress(OSError, EOFError):
        os.chdir(folder)
        connection.send("ready")
        while True:
            clip = connection.recv()
            result: Decoded | AssertionError
            try:
                result = decode_clip(task, clip, _watch)
            except AssertionError as error:
                result = error
            connection.send(result)


def _watch(on: bool) -> None:
    """Let the system end this process if this is not called again in time; stop that if not `on`.

    Time of the processor, as a disk or a network that is slow is no fault of the file.
    """
    signal.setitimer(signal.ITIMER_PROF, _COMPUTING * on)
    signal.setitimer(signal.ITIMER_REAL, _WAITING * on)


def _check_descriptors(count: int) -> None:
    """Raise OSError unless so many more files can be opened.

    A process whose start fails half-way prints a traceback of its own.
    """
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))


@contextlib.contextmanager
def sparing_workers() -> Iterator[None]:
    """Block Ctrl-C: the processes that start within inherit that, this one gets it afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def begin_worker() -> None:
    """End this process with its parent, however that ends."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
