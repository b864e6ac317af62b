"""Run the command line in a process of its own that is forked, so that one run costs no imports.

What a test does to the process (kill it at an event, take its memory, break its numbers) is a
function that runs in the child before the command. Invariant: the parent itself never computes, so
that it has no threads and a fork of it is a clean process.
"""

import contextlib
import ctypes
import importlib
import os
import pkgutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

Before = Callable[[], None]
_PR_SET_PDEATHSIG = 1


class Ended(NamedTuple):
    """How a command ended. code: its exit code, -N where signal N killed it."""

    code: int
    out: str
    err: str

    @property
    def refused(self) -> bool:
        """Say whether it ended with one clear line, that is not about a fault of ours."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        plain = "a fault of EchoSweep" not in self.err and "Traceback" not in self.err
        return self.code in (1, 2) and len(lines) == 1 and plain

    @property
    def last(self) -> str:
        """Return the last line that was said."""
        return (self.err.strip().splitlines() or [""])[-1][:300]


class Child:
    """A command that runs. pid is also the number of its process group."""

    def __init__(self, work: Callable[[], object], before: Before | None = None) -> None:
        self._logs = tempfile.TemporaryDirectory(prefix="abuse-log-")
        self._paths = [Path(self._logs.name, name) for name in ("out", "err")]
        for path in self._paths:
            path.touch()
        self._status: int | None = None
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _be_child(self._paths, work, before)

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = os.waitstatus_to_exitcode(status) if pid else None
        return self._status

    def send(self, number: int) -> None:
        """Send a signal to the command."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def said(self) -> str:
        """Return what it has written to stderr so far."""
        return self._paths[1].read_text(errors="replace")

    def wait(self, seconds: float = 300) -> Ended:
        """Return how it ended; it is killed, with what it started, if that takes longer."""
        end = time.monotonic() + seconds
        while self.poll() is None and time.monotonic() < end:
            time.sleep(0.002)
        late = self.poll() is None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        while self.poll() is None:
            time.sleep(0.002)
        out, err = (path.read_text(errors="replace") for path in self._paths)
        self._logs.cleanup()
        code = self.poll()
        assert code is not None
        return Ended(code, out, f"{err}\nhung for {seconds:g} s" if late else err)


def start(words: list[str], before: Before | None = None) -> Child:
    """Start `echosweep WORDS` in a child."""

    def work() -> None:
        from echosweep import cli

        sys.argv = ["echosweep", *words]
        cli.main()

    return Child(work, before)


def run(words: list[str], before: Before | None = None, seconds: float = 300) -> Ended:
    """Run `echosweep WORDS` in a child to its end."""
    return start(words, before).wait(seconds)


def call(work: Callable[[], object], before: Before | None = None, seconds: float = 300) -> Ended:
    """Run a function in a child; what it raises is the child's last line."""
    return Child(work, before).wait(seconds)


def preload() -> None:
    """Import all that commands import, once, and compute nothing."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import matplotlib

    import echosweep

    matplotlib.use("agg")
    for found in pkgutil.walk_packages(echosweep.__path__, "echosweep."):
        if not found.name.endswith((".ray", ".slurm", "__main__")):
            with contextlib.suppress(ImportError):  # an extra that is not installed
                importlib.import_module(found.name)
    for name in ("av", "PIL.Image", "matplotlib.pyplot", "scipy", "optuna", "torch._dynamo"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    import torch

    torch.set_num_threads(1)


def _be_child(logs: list[Path], work: Callable[[], object], before: Before | None) -> None:
    code = 1
    try:
        os.setsid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # no child outlives a test
        for number, path in enumerate(logs, 1):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
            os.dup2(descriptor, number)
            os.close(descriptor)
        sys.stdin = Path(os.devnull).open()  # noqa: SIM115 - to the process's end
        sys.stdout, sys.stderr = (open(n, "w", closefd=False) for n in (1, 2))  # noqa: SIM115
        if before:
            before()
        work()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            from multiprocessing import util

            util._exit_function()
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
