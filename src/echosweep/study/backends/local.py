"""Trials as processes of this machine: one a GPU, or its CPU cores shared out."""

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

from echosweep import machine
from echosweep.errors import UsageError
from echosweep.study.backends import BackendSettings, Ended
from echosweep.study.backends.process import without_worker
from echosweep.study.backends.worker_processes import end, fork
from echosweep.study.trial import Trial

_SECONDS_BETWEEN_LOOKS = 0.05
_ALONE = ("floor", "shift")  # the only trials of their stages: each gets every core


class Local:
    """Runs trials here, as many at a time as there are slots."""

    def __init__(self, settings: BackendSettings) -> None:
        """Share out this machine; raise UsageError for more GPUs than it has."""
        self.slots, self.threads = share_out(settings, gpus(), machine.cores())

    def run(self, trials: Sequence[Trial], study: Path) -> Ended:
        """Start the trials in order, each as a slot is free; yield each as it ends."""
        waiting, free = list(trials), list(self.slots)
        running: list[tuple[Trial, BaseProcess, tuple[str, ...]]] = []
        try:
            while waiting or running:
                while waiting and free:
                    trial = waiting.pop(0)
                    code = without_worker(study, trial)
                    if code is None:
                        slot = free.pop(0)
                        threads = machine.cores() if trial.task in _ALONE else self.threads
                        process = fork(
                            study,
                            trial.signature,
                            threads=threads,
                            devices=slot,
                            trials=min(len(self.slots), len(trials)),
                        )
                        running.append((trial, process, slot))
                    else:
                        yield trial, code
                for entry in [e for e in running if not e[1].is_alive()]:
                    running.remove(entry)
                    trial, process, slot = entry
                    free.append(slot)
                    yield trial, end(process)
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        finally:
            for _, process, _ in running:
                process.terminate()  # all at once: each may take a while to save
            for _, process, _ in running:
                end(process)


def share_out(
    settings: BackendSettings, gpus: Sequence[str], cores: int
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


def gpus() -> list[str]:
    """Return the NVIDIA GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name and name != "-1"]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True)
    return [str(i) for i, line in enumerate(listed.stdout.splitlines()) if line.startswith("GPU")]
