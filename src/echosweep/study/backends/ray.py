"""Trials as tasks of Ray, on this machine or on the nodes of a cluster.

A task forks the worker on its node and waits, so that Ray sees a task and the worker is a plain
process. Invariant: no worker outlives its task: cancelled, the task stops it; killed, the worker
sees its end and stops itself.
"""

import atexit
import importlib.util
import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from echosweep.errors import EchoSweepError, UsageError
from echosweep.places import short_temporary
from echosweep.study.backends import BackendSettings, Ended
from echosweep.study.backends.process import without_worker
from echosweep.study.backends.worker_processes import end, fork
from echosweep.study.trial import Trial

LOST = -signal.SIGKILL  # Ray gave its task up: as if killed
_RETRIES = 3  # of a task whose node, or whose process of Ray, died
_KILLS_CHILDREN = "RAY_kill_child_processes_on_worker_exit"  # before they saved, if Ray may
_BELOW_TEMPORARY = len(
    "/ray-12345678/ray/session_2000-01-01_00-00-00_000000_1234567/sockets/plasma_store.1"
)
_LOOPBACK = "127.0.0.1"
_SECONDS_BETWEEN_LOOKS = 0.1
_SECONDS_TO_ANSWER = 5.0
_SECONDS_TO_SAVE = 90.0


class Ray:
    """Runs trials on the nodes that Ray knows, each in its share of a node's GPUs or cores."""

    def __init__(self, settings: BackendSettings) -> None:
        """Connect; raise UsageError where Ray is missing, does not answer or has too few GPUs."""
        self.ray = _connect(settings.address)
        self.workers = settings.workers
        self.gpus, self.threads = share_out(settings, [n["Resources"] for n in self._nodes()])

    def run(self, trials: Sequence[Trial], study: Path) -> Ended:
        """Start the trials in order, as many at a time as fit; yield each as it ends."""
        study = study.resolve()
        self._check_seen(study)
        do = self.ray.remote(num_cpus=self.threads, num_gpus=self.gpus, max_retries=_RETRIES)(work)
        waiting, running = list(trials), dict[Any, Trial]()
        try:
            while waiting or running:
                while waiting and len(running) < (self.workers or len(trials)):
                    trial = waiting.pop(0)
                    code = without_worker(study, trial)
                    if code is None:
                        running[do.remote(str(study), trial.signature, self.threads)] = trial
                    else:
                        yield trial, code
                for task in self._ended(running):
                    yield running.pop(task), self._code(task)
        finally:
            for task in running:
                self.ray.cancel(task)
            self._wait(running, len(running), _SECONDS_TO_SAVE)

    def _nodes(self) -> list[dict[str, Any]]:
        return [node for node in self.ray.nodes() if node["Alive"]]

    def _check_seen(self, study: Path) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        look = self.ray.remote(num_cpus=0, max_retries=0)(check_seen)
        there = [NodeAffinitySchedulingStrategy(n["NodeID"], soft=False) for n in self._nodes()]
        for task in [look.options(scheduling_strategy=node).remote(str(study)) for node in there]:
            self._code(task)

    def _ended(self, tasks: Mapping[Any, Trial]) -> list[Any]:
        return self._wait(tasks, 1, None) if tasks else []

    def _wait(self, tasks: Mapping[Any, Trial], number: int, seconds: float | None) -> list[Any]:
        done: list[Any] = self.ray.wait(list(tasks), num_returns=number, timeout=seconds)[0]
        return done

    def _code(self, task: Any) -> int:
        errors = self.ray.exceptions
        try:
            code: int = self.ray.get(task)
            return code
        except errors.RayTaskError as error:
            if isinstance(error.cause, EchoSweepError):
                raise error.cause from None
            raise EchoSweepError(f"a task of Ray failed: {error.cause!r}") from error
        except errors.RayError:
            return LOST


def work(study: str, signature: str, threads: int) -> int:
    """Do a trial on this node; return the exit code of its worker."""
    check_seen(study)
    # Ray cancels by SIGINT, which a process started in the background of a script ignores.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    given = os.environ.get("CUDA_VISIBLE_DEVICES", "")  # by Ray, for this task
    devices = [name for name in given.split(",") if name]
    process = fork(Path(study), signature, threads=threads, devices=devices)
    try:
        while process.is_alive():  # not join(): Ray cancels between two statements
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    finally:
        code = end(process)
    return code


def check_seen(study: str) -> None:
    """Raise UsageError if this node does not see the study's folder."""
    if not (Path(study) / "study.json").exists():
        raise UsageError(
            f"node {socket.gethostname()} does not see {study}; "
            "put the study on a file system that every node has at the same path"
        )


def share_out(settings: BackendSettings, nodes: Sequence[Mapping[str, float]]) -> tuple[int, int]:
    """Return the GPUs and the threads of each trial, so that every node that can is filled.

    nodes: what each has of "CPU" and "GPU", absent if none. Without GPUs in the cluster, a trial
    needs none. Raises UsageError where a trial asks for more GPUs than any node has.
    """
    most = int(max((node.get("GPU", 0) for node in nodes), default=0))
    if settings.gpus and most:
        if settings.gpus > most:
            raise UsageError(f"--gpus {settings.gpus}: no node has more than {most}; ask for less")
        fit = [node for node in nodes if node.get("GPU", 0) >= settings.gpus]
        shares = [node.get("CPU", 0) // (node["GPU"] // settings.gpus) for node in fit]
        return settings.gpus, max(1, int(min(shares)))
    cores = [node["CPU"] for node in nodes if node.get("CPU")] or [1]
    shared = sum(cores) // settings.workers if settings.workers else 1
    return 0, max(1, int(min(shared, *cores)))


def _connect(address: str | None) -> Any:
    """Return Ray, connected: to the cluster at an address, or to a new one that is ours alone.

    Raises UsageError where Ray is missing, or no cluster is there.
    """
    if importlib.util.find_spec("ray") is None:
        raise UsageError("Ray is missing; pip install 'echosweep[ray]'")
    if (there := sys.modules.get("ray")) and there.is_initialized():
        return there
    _check_answers(address)
    how = _own() if address is None else {"address": address}
    import ray  # after `_own`: what Ray reads of the environment, it reads here

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no word leaves the lab
    os.environ.setdefault("RAY_worker_niceness", "0")  # else trials stand still beside others
    try:
        ray.init(
            **how,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": {_KILLS_CHILDREN: "0"}},
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"Ray at {address}" if address else "a Ray of our own"
        raise UsageError(f"{where}: {' '.join(str(error).split())}") from None
    finally:
        if address is None:
            atexit.register(_end, ray, Path(how["_temp_dir"]).parent)
    if address is None:
        _check_alone(ray)
    return ray


def _own() -> dict[str, Any]:
    """Return what starts a Ray that no other user and no other machine reaches.

    It listens on loopback, asks for a token, and keeps its sockets in a private folder, for Ray
    gives its own to everybody. What the environment says of another Ray is not heard.
    """
    # Read as Ray is imported. By it Ray takes loopback for a node's address, as on a laptop.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    os.environ.pop("RAY_ADDRESS", None)
    short = short_temporary(_BELOW_TEMPORARY, "RAY_TMPDIR")
    return {
        **{"address": "local", "_node_ip_address": _LOOPBACK, "include_dashboard": False},
        "_temp_dir": f"{tempfile.mkdtemp(prefix='ray-', dir=short)}/ray",  # mkdtemp: mode 0700
    }


def _end(ray: Any, private: Path) -> None:
    """End our own Ray, with its folder."""
    ray.shutdown()
    shutil.rmtree(private, ignore_errors=True)


def _check_alone(ray: Any) -> None:
    """Raise UsageError for a Ray of our own that others reach."""
    address: str = ray.get_runtime_context().gcs_address
    if not address.startswith(f"{_LOOPBACK}:"):
        ray.shutdown()
        raise UsageError(
            f"Ray {ray.__version__} listens at {address}, not on loopback alone; pip install "
            "'echosweep[ray]' anew, or start a cluster that you protect and give --address"
        )


def _check_answers(address: str | None) -> None:
    """Raise UsageError if nobody listens at host:port: Ray would wait for it without end."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not host:
        return
    try:
        socket.create_connection((host, int(port)), _SECONDS_TO_ANSWER).close()
    except (OSError, ValueError, OverflowError) as error:
        raise UsageError(
            f"no Ray cluster answers at {address} ({error}); start one: ray start --head, "
            "and give the host:port that it prints"
        ) from None
