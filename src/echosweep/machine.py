"""What this process may take of the machine: cores and memory, and what its CPU is and can do.

A control group (a Slurm job, a container) takes some of both away without a word, so its limits,
and those of the groups above it, count too (Linux, cgroups(7), both versions); and so do the limits
of the process, setrlimit(2).
"""

import contextlib
import os
import resource
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from echosweep.errors import UsageError

TRIALS = "ECHOSWEEP_TRIALS"  # how many trials of a study compute on this machine at a time
_OWN_GROUPS = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")
_UNREADABLE = (OSError, ValueError, IndexError, ZeroDivisionError)


def variable(name: str, default: int, setter: str = "torchrun") -> int:
    """Return a variable of the environment that is a number, as launchers of processes set them.

    Args:
        name: Of the variable.
        default: Its value where it is not set.
        setter: What sets it.

    Raises:
        UsageError: It is no whole number of 0 or more.
    """
    value = os.environ.get(name, str(default))
    if not (value.isascii() and value.isdecimal() and len(value) < 10):
        raise UsageError(
            f"the environment has {name}={value[:40]!r}, which is no whole number; it is set by "
            f"{setter}: unset it to run {'one process' if setter == 'torchrun' else 'without'}"
        )
    return int(value)


def cores() -> int:
    """Return how many CPU cores this process may use, at least 1."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, int(min([there or 1, *_quotas()])))


def free_memory() -> int | None:
    """Return the bytes that this process may still take on Linux, None where that is not known.

    Processes of one `torchrun`, and trials of one study, share evenly what is the machine's.
    """
    free = list(_free_of_groups())
    with contextlib.suppress(*_UNREADABLE):
        free.append(_kilobytes("/proc/meminfo", "MemAvailable:"))
    sharing = max(1, variable("LOCAL_WORLD_SIZE", 1)) * max(1, variable(TRIALS, 1))
    free = [bytes_free // sharing for bytes_free in free]
    free += _free_of_limits()
    return max(0, min(free)) if free else None


def _free_of_limits() -> Iterator[int]:
    """Yield the bytes that each limit of this process alone leaves: `ulimit -v`, `ulimit -d`."""
    for limit, taken in ((resource.RLIMIT_AS, "VmSize:"), (resource.RLIMIT_DATA, "VmData:")):
        most, _ = resource.getrlimit(limit)
        if most != resource.RLIM_INFINITY:
            with contextlib.suppress(*_UNREADABLE):
                yield most - _kilobytes("/proc/self/status", taken)


def _kilobytes(file: str, name: str) -> int:
    """Return the bytes that a line `name` of a file of the kernel gives in kB."""
    return int(Path(file).read_text().split(name)[1].split()[0]) * 1024


def cpu_name() -> str | None:
    """Return what the CPU calls itself on Linux, None where that is not known."""
    return _cpu().get("model name")


def cpu_flags() -> set[str]:
    """Return the instruction sets of the CPU on Linux, an empty set where they are not known."""
    return set((_cpu().get("flags") or _cpu().get("Features") or "").split())  # x86, or Arm


@cache
def _cpu() -> dict[str, str]:
    """Return the facts of the first core."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
        pairs = (line.partition(":") for line in lines)
        return {name.strip(): value.strip() for name, _, value in pairs}
    return {}


def _quotas() -> Iterator[float]:
    """Yield the cores' worth of time that each control group grants; "max" and -1 grant all."""
    for group in _groups("cpu"):
        with contextlib.suppress(*_UNREADABLE):
            quota, period = (group / "cpu.max").read_text().split()
            yield int(quota) / int(period)
        with contextlib.suppress(*_UNREADABLE):
            if (granted := _read(group, "cpu.cfs_quota_us")) > 0:
                yield granted / _read(group, "cpu.cfs_period_us")


def _free_of_groups() -> Iterator[int]:
    """Yield the bytes that each control group has left; files in memory make room when asked."""
    for group in _groups("memory"):
        for limit, taken in (("memory.max", "anon "), ("memory.limit_in_bytes", "total_rss ")):
            with contextlib.suppress(*_UNREADABLE):
                used = (group / "memory.stat").read_text().split(taken)[1].split()[0]
                yield _read(group, limit) - int(used)


def _read(group: Path, name: str) -> int:
    return int((group / name).read_text())


def _groups(controller: str) -> Iterator[Path]:
    """Yield the folders of this process's control group and of those above it.

    Within a container the own group's path may be another one's outside; the top is there always.
    """
    with contextlib.suppress(*_UNREADABLE):
        for line in _OWN_GROUPS.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "" or controller in controllers.split(","):
                top = _GROUPS / controllers
                own = top / path.strip("/")
                yield from (own, *(parent for parent in own.parents if top in parent.parents), top)
