"""Workers as plain processes, forked from a process that has imported torch: they start in no time.

They come from Python's fork server, which computes nothing itself, so what is forked from it holds
no lock, no thread and no GPU. Invariant: a worker does not outlive who forked it, whichever way
that ends; asked to stop, it saves.
"""

import os
import sys
from collections.abc import Sequence
from multiprocessing import connection, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path

from echosweep import machine
from echosweep.places import fork_server
from echosweep.streams import prepare as prepare_streams
from echosweep.study.trial import folder

# The second takes seconds, and PyTorch imports it when it makes an optimizer: in every trial, else.
_PRELOADED = ["echosweep.study.tasks", "torch._dynamo"]


def fork(
    study: Path, signature: str, *, threads: int, devices: Sequence[str] = (), trials: int = 1
) -> BaseProcess:
    """Start the worker of a trial; what it prints goes to the trial's log.

    threads: of its computations. devices: the GPUs that it may use, as CUDA_VISIBLE_DEVICES has
    them. trials: those that share the machine's memory.
    """
    context = fork_server()
    context.set_forkserver_preload(_PRELOADED)
    process = context.Process(target=_work, args=(study, signature, threads, devices, trials))
    process.start()
    return process


def end(process: BaseProcess, seconds: float = 60.0) -> int:
    """Ask a worker to save and stop; kill it if it does not. Return its exit code."""
    if process.is_alive():
        process.terminate()
        process.join(seconds)
        process.kill()
    process.join()
    code = process.exitcode
    process.close()
    assert code is not None
    return code


def _work(study: Path, signature: str, threads: int, devices: Sequence[str], trials: int) -> None:
    """Do the trial, in the process that was forked for it."""
    os.setsid()  # Ctrl-C is the runner's to handle
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ[machine.TRIALS] = str(trials)
    if devices:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(devices)
    path = folder(study, signature)
    path.mkdir(parents=True, exist_ok=True)
    with (path / "log.txt").open("ab") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    prepare_streams()

    import torch

    from echosweep.study.worker import work_until_asked

    torch.set_num_threads(threads)
    starter = parent_process()
    assert starter is not None
    sys.exit(work_until_asked(study, signature, lambda: connection.wait([starter.sentinel])))
