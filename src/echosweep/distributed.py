"""One process or many: what a trainer needs to know about its peers.

Under `torchrun` (or any launcher that sets RANK and WORLD_SIZE) processes join by nccl on GPUs and
gloo on CPUs; without a launcher there is one process and every function here is free.
"""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import distributed

from echosweep import machine
from echosweep.devices import pick_device
from echosweep.errors import UsageError


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
    try:
        distributed.init_process_group("nccl" if picked.type == "cuda" else "gloo")
    except ValueError as error:  # a variable that torchrun sets is missing or is nonsense
        text = str(error).split("\n")[0][:200]
        raise UsageError(f"the processes cannot join ({text}); start them with torchrun") from None
    try:
        yield World(distributed.get_rank(), distributed.get_world_size(), picked)
        distributed.barrier()
    finally:
        distributed.destroy_process_group()


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
