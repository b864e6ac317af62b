"""Trials as processes of this machine: one a GPU, or its CPU cores shared out."""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from echosweep.errors import UsageError
from echosweep.study.backends import BUSY, DONE, Settings
from echosweep.study.backends.process import start, stop
from echosweep.study.trial import Trial, folder, is_claimed, result

_SECONDS_BETWEEN_LOOKS = 0.05


class Local:
    """Runs trials here, as many at a time as there are slots."""

    def __init__(self, settings: Settings, gpus: Sequence[str]) -> None:
        self.slots, self.threads = share_out(settings, gpus, _cores())

    def run(self, trials: Sequence[Trial], study: Path) -> Iterator[tuple[Trial, int]]:
        """Start the trials in order, each as a slot is free; yield each as it ends."""
        waiting, free = list(trials), list(self.slots)
        running: list[tuple[Trial, subprocess.Popen[bytes], tuple[str, ...]]] = []
        try:
            while waiting or running:
                while waiting and free:
                    trial = waiting.pop(0)
                    if result(study, trial):  # another runner did it meanwhile
                        yield trial, DONE
                    elif is_claimed(folder(study, trial.signature)):
                        yield trial, BUSY
                    else:
                        slot = free.pop(0)
                        process = start(study, trial.signature, threads=self.threads, devices=slot)
                        running.append((trial, process, slot))
                for entry in [e for e in running if e[1].poll() is not None]:
                    running.remove(entry)
                    trial, process, slot = entry
                    free.append(slot)
                    yield trial, stop(process)
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        finally:
            for _, process, _ in running:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()  # all at once: each may take a while to save
            for _, process, _ in running:
                stop(process)


def share_out(
    settings: Settings, gpus: Sequence[str], cores: int
) -> tuple[list[tuple[str, ...]], int]:
    """Return the GPUs of each slot (none on a machine without), and the threads of each.

    Raises UsageError where a trial asks for more GPUs than there are.
    """
    if gpus and settings.gpus:
        if settings.gpus > len(gpus):
            raise UsageError(
                f"--gpus {settings.gpus}: this machine has {len(gpus)}; ask for at most that many"
            )
        most = len(gpus) // settings.gpus
        count = min(settings.workers or most, most)
        each = settings.gpus
        slots = [tuple(gpus[i * each : (i + 1) * each]) for i in range(count)]
    else:
        slots = [()] * (settings.workers or cores)
    return slots, max(1, cores // len(slots))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
