"""One command on several GPUs of this machine: a process each, which meet by a private file.

`torchrun` meets by a server that every machine reaches, and that loads pickles. Invariant: all
processes end together; asked to stop, each saves.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from echosweep.distributed import MEETING

_SECONDS_BETWEEN_LOOKS, _SECONDS_TO_END = 0.1, 30.0


def run(words: Sequence[str], count: int) -> int:
    """Run `python -m WORDS` as `count` processes; return 0, or the code of the first that failed.

    Where it is interrupted, each is asked to save, and waited for.
    """
    with tempfile.TemporaryDirectory(prefix="echosweep-") as folder:  # mode 0700
        shared = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), MEETING: folder}
        ranks = [{**shared, "RANK": str(i), "LOCAL_RANK": str(i)} for i in range(count)]
        call = [sys.executable, "-m", *words]
        processes = [subprocess.Popen(call, env={**os.environ, **rank}) for rank in ranks]
        try:
            return _first_failure(processes)
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()


def _first_failure(processes: Sequence["subprocess.Popen[bytes]"]) -> int:
    """Wait until all have ended, or one failed and the others, which wait for it, were ended."""
    while True:
        codes = [process.poll() for process in processes]
        if failed := next((code for code in codes if code), None):
            _end(processes)
            return failed
        if None not in codes:
            return 0
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _end(processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    until = time.monotonic() + _SECONDS_TO_END
    for process in processes:
        process.terminate()
    while None in [process.poll() for process in processes] and time.monotonic() < until:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    for process in processes:
        process.kill()
