"""Real clusters on this machine, two nodes of Ray or one of Slurm, and what tests do to trials."""

import contextlib
import getpass
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from echosweep.study.backends import Backend
from echosweep.study.candidate import Candidate
from echosweep.study.trial import Trial, folder, is_claimed, put

# Read as Ray is imported; else it leaves a token in the home folder of who runs the tests, and its
# workers give way to all other processes, so that they stand still beside other tests.
os.environ.update(RAY_AUTH_MODE="disabled", RAY_USAGE_STATS_ENABLED="0", RAY_worker_niceness="0")

SLURM = all(shutil.which(name) for name in ("slurmctld", "slurmd", "munged", "sbatch"))

_SLURM_CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={base}/munge,cred_expire=5
StateSaveLocation={base}/state
SlurmdSpoolDir={base}/spool
SlurmctldPidFile={base}/slurmctld.pid
SlurmdPidFile={base}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SchedulerParameters=sched_interval=1,batch_sched_delay=0
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=2000
PartitionName=test Nodes={host} Default=YES MaxTime=60 State=UP
"""


@contextlib.contextmanager
def slurm() -> Iterator[None]:
    """Run munged, slurmctld and slurmd, found by what is started in the context."""
    with tempfile.TemporaryDirectory(prefix="slurm") as name, contextlib.ExitStack() as stack:
        base = Path(name)
        base.chmod(0o755)  # munged's clients must pass
        for part in ("state", "spool"):
            (base / part).mkdir()
        (base / "key").write_bytes(secrets.token_bytes(128))
        (base / "key").chmod(0o600)
        facts = {"host": socket.gethostname(), "user": getpass.getuser(), "base": base}
        (base / "slurm.conf").write_text(_SLURM_CONF.format(**facts, ports=_free_ports()))
        files = {"socket": "munge", "key-file": "key", "log-file": "munge.log"}
        files |= {"pid-file": "munge.pid", "seed-file": "seed"}
        words = [f"--{option}={base / file}" for option, file in files.items()]
        stack.enter_context(_daemon(base, "munged", "--foreground", "--force", *words))
        until((base / "munge").exists)
        os.environ["SLURM_CONF"] = f"{base}/slurm.conf"
        stack.callback(os.environ.pop, "SLURM_CONF")
        for daemon in ("slurmctld", "slurmd"):
            stack.enter_context(_daemon(base, daemon, "-D"))
        until(lambda: "idle" in _output("sinfo", "--noheader"))
        yield


@contextlib.contextmanager
def ray_nodes() -> Iterator[Any]:
    """Run two nodes of Ray, of one core each; yield their `ray.cluster_utils.Cluster`."""
    import ray
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 100_000_000}
    # What a script starts in the background ignores Ctrl-C, and so does all that Ray starts there.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
        cluster.add_node(**node)
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def add(study: Path, trial: Trial) -> Trial:
    """Write a trial into its study; return it."""
    put(study, trial)
    return trial


def changed(study: Path, trial: Trial, changes: dict[str, Any]) -> Trial:
    """Add a trial of a candidate changed at paths."""
    candidate = Candidate.make(trial.params["candidate"]).changed(changes)
    return add(study, Trial(trial.task, {**trial.params, "candidate": candidate.task()}))


def codes(backend: Backend, trials: Sequence[Trial], study: Path) -> "Future[list[int]]":
    """Run trials in the background; the future has their exit codes, in order."""

    def run() -> list[int]:
        found = {trial.signature: code for trial, code in backend.run(trials, study)}
        return [found[trial.signature] for trial in trials]

    return ThreadPoolExecutor(1).submit(run)


def is_training(study: Path) -> bool:
    """Say whether some trial has done its first steps of training."""
    return any(study.glob("runs/*/ema/*.json"))


def saved_images(study: Path) -> int:
    """Return how many images the saved states of training have seen, at most."""
    return max((int(path.stem) for path in study.glob("runs/*/state/*.json")), default=0)


def workers(study: Path, trial: Trial) -> list[int]:
    """Return the processes of a trial's worker, forked or started."""
    place = folder(study, trial.signature)
    forked = [pid_of(place)] if is_claimed(place) and (place / "progress.json").exists() else []
    return _matching(f"echosweep.study.worker {study} {trial.signature}") or forked


def pid_of(place: Path) -> int:
    """Return the process that a trial's progress is of."""
    pid: int = json.loads((place / "progress.json").read_bytes())["pid"]
    return pid


def worker(study: Path, trial: Trial) -> int:
    """Return the process of a trial's worker once it holds the trial's lock."""
    until(lambda: bool(workers(study, trial)) and is_claimed(folder(study, trial.signature)))
    return workers(study, trial)[0]


def until(holds: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait until it holds; fail after so many seconds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not after {seconds} s"
        time.sleep(0.05)


@contextlib.contextmanager
def _daemon(base: Path, *words: str) -> Iterator[None]:
    with (base / f"{words[0]}.out").open("wb") as out:
        process = subprocess.Popen(words, stdout=out, stderr=out, cwd=base)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _free_ports() -> list[int]:
    with socket.socket() as one, socket.socket() as two:
        for each in (one, two):
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in (one, two)]


def _output(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout


def _matching(words: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if words in path.read_bytes().replace(b"\0", b" ").decode(errors="replace"):
                found.append(int(path.parent.name))
    return found
