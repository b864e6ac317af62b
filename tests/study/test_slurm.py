"""Trials in the queue of a real Slurm: slices of time, cancelled jobs, and what sbatch refuses."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from echosweep.errors import UsageError
from echosweep.study.backends import DONE, FAILED, BackendSettings
from echosweep.study.backends.slurm import LOST, Slurm, Work
from echosweep.study.trial import Trial, result

from .cluster import (
    SLURM,
    add,
    changed,
    codes,
    is_training,
    saved_images,
    slurm,
    until,
    worker,
    workers,
)

submitit = pytest.importorskip("submitit", reason="pip install 'echosweep[slurm]'")
needs_slurm = pytest.mark.skipif(
    not SLURM, reason="Slurm (slurmctld, slurmd, munged) is not installed; by submitit alone"
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with slurm():
        yield


def _running() -> list[str]:
    words = ["squeue", "--me", "--array", "--noheader", "--states=RUNNING", "--format=%i"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()


def _signal(job: str, name: str) -> None:
    subprocess.run(["scancel", *([f"--signal={name}"] if name else []), job], check=False)


@needs_slurm
def test_a_trial_goes_on_after_its_slice_and_one_that_raises_or_is_cancelled_stops_no_other(
    cluster: None, small_study: tuple[Path, list[Trial]]
) -> None:
    study, trials = small_study
    sliced = changed(study, trials[0], {"train.total_kimg": 0.8})
    raises = add(study, Trial("no such task", {}))
    cancelled = changed(study, trials[0], {"train.lr": 1e-4, "train.total_kimg": 80.0})
    ended = codes(Slurm(BackendSettings()), [sliced, cancelled, raises], study)
    until(lambda: is_training(study) and len(_running()) == 2)
    first, second = sorted(_running())
    _signal(first, "USR2")  # as Slurm does before the end of a slice
    until(lambda: saved_images(study) > 0)
    _signal(second, "")
    assert ended.result(300) == [DONE, LOST, FAILED]
    assert "Requeued job" in next(study.glob(f"slurm/{first}_0_log.out")).read_text()
    assert codes(Slurm(BackendSettings()), [sliced, raises], study).result(30) == [DONE, DONE]


@needs_slurm
def test_closing_saves_what_runs_and_takes_what_waits_out_of_the_queue(
    cluster: None, small_study: tuple[Path, list[Trial]]
) -> None:
    study, trials = small_study
    raises = add(study, Trial("no such task", {}))
    slow = [changed(study, trial, {"train.total_kimg": 80.0}) for trial in trials[:3]]
    running = Slurm(BackendSettings()).run([raises, *slow], study)
    assert next(running) == (raises, FAILED)
    until(lambda: is_training(study))
    running.close()
    assert not any(workers(study, trial) for trial in slow)
    assert 0 < saved_images(study) < 80_000
    assert _running() == []
    queue = subprocess.run(["squeue", "--noheader"], capture_output=True, text=True, check=True)
    assert queue.stdout == ""


@needs_slurm
def test_what_sbatch_refuses_is_said_before_any_job(cluster: None) -> None:
    with pytest.raises(UsageError, match=r"^Slurm takes no .*--partition=none: .*invalid part"):
        Slurm(BackendSettings(options=(("partition", "none"),)))
    with pytest.raises(UsageError, match="unrecognized option '--partitoin=test'"):
        Slurm(BackendSettings(options=(("partitoin", "test"),)))
    given = (("time", "10"), ("partition", "test"), ("exclusive", ""))
    assert Slurm(BackendSettings(options=given)).options == {
        "job-name": "echosweep",
        "time": "10",
        "cpus-per-task": "1",
        "requeue": True,
        "partition": "test",
        "exclusive": True,
    }


@pytest.mark.skipif(SLURM, reason="Slurm is here: the same is tested with Slurm itself")
def test_by_submitit_alone_a_trial_goes_on_after_its_slice(
    small_study: tuple[Path, list[Trial]],
) -> None:
    study, trials = small_study
    slow = changed(study, trials[0], {"train.total_kimg": 0.8})
    job = submitit.LocalExecutor(study / "slurm").submit(Work(study), slow.signature)
    until(lambda: is_training(study))
    task = int(Path(f"/proc/{worker(study, slow)}/stat").read_text().split()[3])
    os.kill(task, signal.SIGUSR2)
    until(lambda: saved_images(study) > 0)
    assert result(study, slow) is None
    assert job.result() == DONE
    assert "Requeued job" in job.stdout()


def test_what_is_missing_is_said_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"^no Slurm here: sbatch is not found"):
        Slurm(BackendSettings())
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UsageError, match=r"pip install 'echosweep\[slurm\]'"):
        Slurm(BackendSettings())
