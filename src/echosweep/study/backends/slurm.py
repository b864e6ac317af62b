"""Trials as jobs of Slurm, sent by submitit: an array of them, each running in slices of time.

Before a slice ends Slurm signals; the job has its worker save and stop, and queues itself again, so
a trial may take longer than the queue allows. Invariant: at the end of a slice, or of the study, a
worker is asked once, by its job; Slurm's signals are blocked in it. Asked twice, it would not save.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from echosweep import machine
from echosweep.errors import EchoSweepError, UsageError
from echosweep.study.backends import BackendSettings, Ended
from echosweep.study.backends.process import start, stop, without_worker
from echosweep.study.trial import Trial

if TYPE_CHECKING:
    from submitit import Job
    from submitit.helpers import DelayedSubmission

LOST = -signal.SIGKILL  # its job is gone without a word: cancelled, or its node failed
_SLICES = 1000  # of a trial, at most: each goes on where the one before saved
_ASKS = (signal.SIGUSR1, signal.SIGUSR2)  # from us: leave; from Slurm: the slice ends soon
_GPU_OPTIONS = ("gres", "gpus", "gpus-per-node", "gpus-per-task")
_SECONDS_BETWEEN_LOOKS = 5.0

Jobs = list[tuple[Trial, "Job[int]"]]


class Slurm:
    """Runs trials in Slurm's queue. settings.options are sbatch's, under their long names."""

    def __init__(self, settings: BackendSettings) -> None:
        """Raise UsageError where submitit or Slurm is missing, or sbatch refuses the options."""
        _import_submitit()
        if not shutil.which("sbatch"):
            raise UsageError("no Slurm here: sbatch is not found; start the study on a login node")
        self.workers = settings.workers
        self.options = _options(settings)
        flags = [f"--{name}" if v is True else f"--{name}={v}" for name, v in self.options.items()]
        tried = _call("sbatch", "--test-only", "--wrap=true", *flags)
        if tried.returncode:
            raise UsageError(f"Slurm takes no {' '.join(flags)}: {' '.join(tried.stderr.split())}")

    def run(self, trials: Sequence[Trial], study: Path) -> Ended:
        """Queue the trials as one array; yield each as its job ends."""
        study = study.resolve()
        waiting = []
        for trial in trials:
            code = without_worker(study, trial)
            if code is None:
                waiting.append(trial)
            else:
                yield trial, code
        running = self._submit(waiting, study) if waiting else []
        try:
            while running:
                for entry in _ended(running):
                    running.remove(entry)
                    yield entry[0], _code(entry[1])
                time.sleep(_SECONDS_BETWEEN_LOOKS if running else 0)
        finally:
            _cancel({job.job_id for _, job in running})

    def _submit(self, trials: Sequence[Trial], study: Path) -> Jobs:
        submitit = _import_submitit()
        executor = submitit.SlurmExecutor(study / "slurm", max_num_timeout=_SLICES)
        executor.update_parameters(
            array_parallelism=self.workers or len(trials),
            # Since Slurm 22.05 srun has one core unless told, whatever sbatch asked for.
            srun_args=[f"--cpus-per-task={self.options['cpus-per-task']}"],
            # Under the names that submitit has for its own, to replace those.
            additional_parameters={n.replace("-", "_"): v for n, v in self.options.items()},
        )
        try:
            jobs = executor.map_array(Work(study), [trial.signature for trial in trials])
        except submitit.core.utils.FailedJobError as error:
            raise EchoSweepError(f"Slurm took no jobs: {' '.join(str(error).split())}") from None
        return list(zip(trials, jobs, strict=True))


class Work:
    """What a job runs: the worker of a trial. submitit calls `checkpoint` before a slice ends."""

    def __init__(self, study: Path) -> None:
        self.study = study

    def __call__(self, signature: str) -> int:
        """Return the exit code of the trial's worker."""
        threads = max(1, machine.variable("SLURM_CPUS_PER_TASK", 1, "Slurm"))
        # The worker inherits the mask: Slurm signals every process of a job, and it would die.
        signal.pthread_sigmask(signal.SIG_BLOCK, _ASKS)
        self._worker = start(self.study, signature, threads=threads)
        for number in (signal.SIGUSR1, signal.SIGTERM):
            signal.signal(number, self._leave)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ASKS)
        # Not wait(): it holds a lock, and the handlers' own wait() would never return.
        os.waitid(os.P_PID, self._worker.pid, os.WEXITED | os.WNOWAIT)
        return stop(self._worker)

    def checkpoint(self, signature: str) -> "DelayedSubmission":
        """Have the worker save and stop; return the same work, to be queued again."""
        stop(self._worker)
        again: DelayedSubmission = _import_submitit().helpers.DelayedSubmission(
            Work(self.study), signature
        )
        return again

    def _leave(self, number: int, frame: object) -> None:
        """End without a result: a job that Slurm preempts is queued again by Slurm."""
        signal.signal(number, signal.SIG_IGN)  # scancel repeats itself where it is not sure
        stop(self._worker)
        sys.exit(128 + number)


def _options(settings: BackendSettings) -> dict[str, str | bool]:
    """Return sbatch's options by their long names: ours, and on top the user's."""
    given = {name: value or True for name, value in settings.options}
    ours: dict[str, str | bool] = {
        "job-name": "echosweep",
        "time": "60",
        "cpus-per-task": "1",
        "requeue": True,
    }
    if settings.gpus and not any(name in given for name in _GPU_OPTIONS):
        where = [f"--partition={given['partition']}"] if "partition" in given else []
        if "gpu" in _call("sinfo", "--noheader", "--format=%G", *where).stdout:
            ours["gpus-per-node"] = str(settings.gpus)
    return ours | given


def _ended(running: Jobs) -> Jobs:
    """Return the jobs that left a result, or left the queue."""
    queued = _queued()  # first: a job writes its result before it leaves
    return [
        (trial, job)
        for trial, job in running
        if job.paths.result_pickle.exists() or (queued is not None and job.job_id not in queued)
    ]


def _queued() -> set[str] | None:
    """Return which of our jobs wait or run; None where Slurm does not answer just now."""
    asked = _call("squeue", "--me", "--array", "--noheader", "--format=%i")
    return None if asked.returncode else set(asked.stdout.split())


def _code(job: "Job[int]") -> int:
    if not job.paths.result_pickle.exists():
        return LOST
    if job.exception():
        raise EchoSweepError(f"Slurm job {job.job_id} broke off; {job.paths.stderr} says why")
    return job.result()


def _cancel(jobs: set[str]) -> None:
    """Take what waits out of the queue, ask what runs to save and leave, and wait for it."""
    while left := jobs & (_queued() or set()):
        _call("scancel", "--state=PENDING", *left)
        _call("scancel", "--signal=USR1", *left)  # not TERM, which may reach the worker as well
        time.sleep(1)


def _call(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(words, capture_output=True, text=True, check=False)


def _import_submitit() -> Any:
    try:
        import submitit
    except ImportError:
        raise UsageError(
            "Slurm needs a package that is missing; pip install 'echosweep[slurm]'"
        ) from None
    return submitit
