"""On how many threads a CPU computes: measured once on a machine, unless OMP_NUM_THREADS says.

All cores are not always the fastest: two may share their multipliers, some be slower than others,
and of some other programs have a part. Invariant: the number of threads changes no image.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import nn

from echosweep import machine, runs
from echosweep.errors import EchoSweepError

_AS_GOOD = 1.05  # times the shortest time
_HOPELESS = 1.5  # times the shortest time: fewer threads still would take longer


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute within on so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def even_threads(images: int) -> contextlib.AbstractContextManager[None]:
    """Compute within on as many threads as can take whole images each, at most those there are.

    Two threads that share an image each sum a part of it, and where the cut lies, and so how the
    sum rounds, depends on how many threads there are (group norm, channels-last).
    """
    most = min(torch.get_num_threads(), images)
    return threads(max(n for n in range(1, most + 1) if images % n == 0))


def use_best_threads() -> None:
    """Compute from now on as `best_threads` says, unless OMP_NUM_THREADS does or a GPU computes."""
    if "OMP_NUM_THREADS" not in os.environ and not torch.cuda.is_available():
        torch.set_num_threads(best_threads())


def best_threads(anew: bool = False) -> int:
    """Return on how many threads a convolution trains fastest here: measured once, then kept.

    anew: measure again, as after a time when the machine was busy.
    """
    most = machine.cores()
    if most == 1:
        return 1
    what = {"cpu": machine.cpu_name(), "cores": most, "torch": torch.__version__}
    name = f"threads-{runs.signature(what)}.json"
    if not anew:
        with contextlib.suppress(OSError, EchoSweepError):
            kept = runs.read_record(runs.cache_folder(None) / name, "it is measured again")["ms"]
            return fastest({int(count): float(ms) for count, ms in kept.items()})
    measured = time_threads(most)
    with contextlib.suppress(OSError, EchoSweepError):  # no place to keep it: measured every time
        runs.write_record(runs.cache_folder(None) / name, {**what, "ms": measured})
    return fastest(measured)


def fastest(ms: Mapping[int, float]) -> int:
    """Return the most threads whose time is as short as the shortest, or up to 5 % longer."""
    return max(count for count, took in ms.items() if took <= _AS_GOOD * min(ms.values()))


def time_threads(most: int) -> dict[int, float]:
    """Return the milliseconds of a convolution and its gradients on `most` threads and on fewer.

    128 channels, 16x16 pixels, 16 images; the shortest of four; halved until that does not pay.
    """
    layer = nn.Conv2d(128, 128, 3, padding=1)
    x = torch.ones(16, 128, 16, 16, requires_grad=True)
    ms: dict[int, float] = {}
    for count in (most >> k for k in range(most.bit_length())):
        with threads(count):
            ms[count] = min(_milliseconds(lambda: layer(x).sum().backward()) for _ in range(4))
        if ms[count] > _HOPELESS * min(ms.values()):
            break
    return ms


def _milliseconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - started)
