"""A worker as a process that never outlives who started it.

Its standard input is a pipe that the starter holds and never writes to: where it closes, the
starter has ended, however it did, and the worker saves and stops.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

from echosweep.study.backends import BUSY, DONE
from echosweep.study.trial import Trial, folder, is_claimed, result


def without_worker(study: Path, trial: Trial) -> int | None:
    """Return the code of a trial that another runner did, or does; None if it needs a worker."""
    if result(study, trial):
        return DONE
    return BUSY if is_claimed(folder(study, trial.signature)) else None


def start(study: Path, signature: str, *, threads: int) -> subprocess.Popen[bytes]:
    """Start the worker of a trial, of so many threads; what it prints goes to the trial's log."""
    path = folder(study, signature)
    path.mkdir(parents=True, exist_ok=True)
    with (path / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "echosweep.study.worker", str(study), signature],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            start_new_session=True,  # Ctrl-C is the runner's to handle
        )


def stop(process: subprocess.Popen[bytes], seconds: float = 60.0) -> int:
    """Ask a worker to save and stop; kill it if it does not. Return its exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
    code = process.wait()
    if process.stdin:
        process.stdin.close()
    return code
