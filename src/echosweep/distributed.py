"""One process or many: what a trainer needs to know about its peers.

Under `torchrun` (or any launcher that sets RANK and WORLD_SIZE) processes join by nccl on GPUs and
gloo on CPUs; without a launcher there is one process and every function here is free.
Invariant: processes of one machine speak over loopback alone, unless a variable says otherwise.
"""

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import distributed

from echosweep import machine
from echosweep.devices import pick_device
from echosweep.errors import UsageError

MEETING = "ECHOSWEEP_MEETING"  # a folder in which processes of one machine meet, in place of a port
_LOOPBACK = {"MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
_meetings = itertools.count()  # every process joins as often as the others


class World(NamedTuple):
    """This process among its peers, and the device it computes on."""

    rank: int
    size: int
    device: torch.device


@contextlib.contextmanager
def world(device: str | None = None) -> Iterator[World]:
    """Join the processes that the launcher started; leave them at the end."""
    picked, size = pick_device(device), machine.variable("WORLD_SIZE", 1)
    if picked.type == "cuda":
        torch.cuda.set_device(picked)
    if size <= 1:
        yield World(0, 1, picked)
        return
    if distributed.is_initialized():  # one command within another: they have joined already
        yield World(distributed.get_rank(), size, picked)
        return
    rank = machine.variable("RANK", 0)
    if rank >= size:
        raise UsageError(f"the environment has RANK={rank} and WORLD_SIZE={size}; unset both")
    backend = "nccl" if picked.type == "cuda" else "gloo"
    try:
        distributed.init_process_group(backend, **_meeting(rank, size))
    except ValueError as error:  # a variable that torchrun sets is missing or is nonsense
        text = str(error).split("\n")[0][:200]
        raise UsageError(f"the processes cannot join ({text}); start them with torchrun") from None
    try:
        yield World(distributed.get_rank(), distributed.get_world_size(), picked)
        distributed.barrier()
    finally:
        distributed.destroy_process_group()


def _meeting(rank: int, size: int) -> dict[str, Any]:
    """Return where the processes meet, {} where the launcher's variables say so."""
    if machine.variable("LOCAL_WORLD_SIZE", 0) == size:
        for name, value in _LOOPBACK.items():
            os.environ.setdefault(name, value)
    if MEETING not in os.environ:
        return {}
    file = Path(os.environ[MEETING]).absolute() / str(next(_meetings))
    return {"init_method": file.as_uri(), "rank": rank, "world_size": size}


def agree(world: World, values: list[float]) -> list[float]:
    """Return the largest of each value over all processes, so that all decide alike."""
    if world.size == 1:
        return values
    largest = torch.tensor(values, dtype=torch.float64, device=world.device)
    distributed.all_reduce(largest, distributed.ReduceOp.MAX)
    return [float(v) for v in largest]


def barrier(world: World) -> None:
    """Wait until every process is here."""
    if world.size > 1:
        distributed.barrier()
