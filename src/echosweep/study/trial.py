"""A trial: one piece of a study's work, named by what it is, done once, kept for good.

STUDY/trials/SIGNATURE/trial.json     what is to be done: a task of TASKS and its parameters
                       result.json    what came out, if it is done
                       error.json     or why it failed
                       progress.json  where it is, every few seconds; log.txt: what it printed
                       .lock          held by the process that does it, as long as it lives

Invariant: a result depends on the trial's parameters and the study's data alone, so whoever asks
for the same trial again finds it done. A process that dies gives its lock back, so none is lost.
"""

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from echosweep import runs
from echosweep.errors import EchoSweepError
from echosweep.text import is_name

_SECONDS_BETWEEN_TRIES = 0.02
_FIX = "remove its folder to do the trial again"
_FIX_STUDY = "its records were not written by EchoSweep"


@dataclass(frozen=True)
class Trial:
    """A task and its parameters, which are JSON. Equal trials have equal signatures."""

    task: str
    params: Mapping[str, Any]

    @property
    def signature(self) -> str:
        """Return the trial's name: 16 hex digits of the hash of what it is."""
        return runs.signature({"task": self.task, "params": self.params})


def folder(study: Path, signature: str) -> Path:
    """Return where a trial is kept; raise EchoSweepError for what is no signature."""
    if not is_name(signature):
        raise EchoSweepError(f"{study} names a trial {signature!r}: {_FIX_STUDY}")
    return study / "trials" / signature


def put(study: Path, trial: Trial) -> Path:
    """Write what is to be done, unless it is there; return the trial's folder."""
    path = folder(study, trial.signature) / "trial.json"
    if not path.exists():
        runs.write_record(path, {"task": trial.task, "params": dict(trial.params)})
    return path.parent


def get(study: Path, signature: str) -> Trial:
    """Return the trial of that name."""
    path = folder(study, signature) / "trial.json"
    record = runs.read_signed(path, _FIX)
    trial = Trial(record.get("task", ""), record.get("params", {}))
    if trial.signature != signature:
        raise EchoSweepError(f"{path} is of another trial, {trial.signature}; {_FIX}")
    return trial


def result(study: Path, trial: Trial | str) -> dict[str, Any] | None:
    """Return what came out: {"state": "complete", ...}, {"state": "failed", ...}, or None yet."""
    path = folder(study, trial if isinstance(trial, str) else trial.signature)
    for name, state in (("result.json", "complete"), ("error.json", "failed")):
        with contextlib.suppress(FileNotFoundError):
            found = runs.read_signed(path / name, _FIX)
            if found.get("trial", path.name) != path.name:
                raise EchoSweepError(f"{path / name} is of another trial; {_FIX}")
            return {"state": state, **found}
    return None


@contextlib.contextmanager
def claimed(path: Path, seconds: float = 0.0) -> Iterator[bool]:
    """Hold a trial's folder as long as this process lives; yield False where another holds it.

    seconds: how long to try, as whoever only looks holds it for an instant.
    """
    path.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + seconds
    with _lock_file(path / ".lock") as file:
        while not _locked(file):
            if time.monotonic() >= until:
                yield False
                return
            time.sleep(_SECONDS_BETWEEN_TRIES)
        yield True


def _lock_file(path: Path) -> IO[bytes]:
    """Open a lock, made if need be; refuse a link, and what waits for a reader, as a pipe."""
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = os.fdopen(os.open(path, flags, 0o666), "rb+", buffering=0)
    except OSError as error:
        raise EchoSweepError(f"{path} is no lock ({error.strerror or error}); remove it") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise EchoSweepError(f"{path} is no lock but a pipe or a device; remove it")
    return file


def _locked(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_claimed(path: Path) -> bool:
    """Say whether some process is doing the trial now."""
    if not (path / ".lock").exists():
        return False
    with claimed(path) as free:
        return not free
