"""Take away room: a disk that fills, a file system that is read-only, few descriptors, a quota.

Invariant: a command ends with one line that says what is full; what was there is as it was; with
room again the same command gives what it would have given.
"""

import ctypes
import os
import random
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from . import child, kills, world
from .row import Bench, Found

_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000
_RDONLY, _REMOUNT = 1, 32
_SIZE = 64 << 20
_QUICK = ("prepare",)


def taken_away(bench: Bench) -> Found:
    """Do the row in a process with mounts of its own; say so where it may not have any."""
    found = bench.folder / "found.txt"
    ended = child.call(lambda: _in_own_mounts(bench, found), seconds=36_000)
    if ended.code == 77:
        return Found(f"not possible here: {ended.last}", _descriptors(bench, bench.fresh()))
    if ended.code:
        return Found("", [ended.err[-2000:]])
    done, *faults = found.read_text().splitlines()
    return Found(done, faults)


def _in_own_mounts(bench: Bench, found: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    disk = bench.folder / "disk"
    disk.mkdir()
    flags = _CLONE_NEWNS | (_CLONE_NEWUSER if os.getuid() else 0)
    options = f"size={_SIZE}".encode()
    made_private = libc.unshare(flags) == 0 and libc.mount(b"none", b"/", None, 0x44000, None) == 0
    if not made_private or libc.mount(b"tmpfs", bytes(disk), b"tmpfs", 0, options):
        print(os.strerror(ctypes.get_errno()), file=sys.stderr)
        raise SystemExit(77)
    faults, fills = [], 0
    for name in _QUICK if bench.quick else world.COMMANDS:
        line, case = world.COMMANDS[name], disk / "case"
        wanted = kills.undisturbed(line, bench.inputs, case, bench.folder / "changes")
        used = _used(disk)
        for number in range(bench.times(2, 20)):
            room = int(used * random.Random(f"{name} {number}").random())
            found_ = _filled(bench, line, case, disk, room, wanted)
            faults += [f"{name}, room for {room} bytes of {used}: {what}" for what in found_]
            fills += 1
        faults += [f"{name}, {what}" for what in _read_only(bench, line, case, libc, wanted)]
        for limit in ("descriptors", "file size"):
            found_ = _limited(bench, line, case, limit, wanted)
            faults += [f"{name}, {limit}: {what}" for what in found_]
    done = f"{fills} full disks; read-only, 20 descriptors and a quota for each command"
    found.write_text("\n".join([done, *(" ".join(fault.split()) for fault in faults)]))


def _used(disk: Path) -> int:
    room = os.statvfs(disk)
    return (room.f_blocks - room.f_bavail) * room.f_frsize


def _fresh(case: Path) -> None:
    shutil.rmtree(case, ignore_errors=True)
    case.mkdir(parents=True)
    world.use_cache(case / "cache")


def _filled(
    bench: Bench, line: str, case: Path, disk: Path, room: int, wanted: dict[str, str]
) -> Iterator[str]:
    _fresh(case)
    filler = disk / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, _SIZE - _used(disk) - room)
    ended = child.run(bench.words(line, case))
    filler.unlink()
    if ended.code and not (ended.refused and "space" in ended.err.lower()):
        yield f"exit {ended.code}: {ended.last}"
    yield from _ends_as(bench, line, case, wanted)


def _ends_as(bench: Bench, line: str, case: Path, wanted: dict[str, str]) -> Iterator[str]:
    ended = child.run(bench.words(line, case))
    if ended.code:
        yield f"not continued: exit {ended.code}: {ended.last}"
    else:
        found = kills.leaves(case) | kills.said(ended)
        yield from (f"continued: {what}" for what in kills.different(wanted, found))


def _read_only(
    bench: Bench, line: str, case: Path, libc: ctypes.CDLL, wanted: dict[str, str]
) -> Iterator[str]:
    _fresh(case)
    disk = bytes(case.parent)
    assert libc.mount(b"tmpfs", disk, b"tmpfs", _REMOUNT | _RDONLY, None) == 0
    ended = child.run(bench.words(line, case))
    assert libc.mount(b"tmpfs", disk, b"tmpfs", _REMOUNT, f"size={_SIZE}".encode()) == 0
    if not ended.refused:
        yield f"read-only: exit {ended.code}: {ended.last}"
    yield from _ends_as(bench, line, case, wanted)


def _limited(
    bench: Bench, line: str, case: Path, limit: str, wanted: dict[str, str]
) -> Iterator[str]:
    """Run with 20 descriptors, or with files of 2,000 bytes at most."""

    def before() -> None:
        import resource

        if limit == "descriptors":
            resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
        else:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    _fresh(case)
    ended = child.run(bench.words(line, case), before)
    if ended.code and not ended.refused:
        yield f"exit {ended.code}: {ended.last}"
    yield from _ends_as(bench, line, case, wanted)


def _descriptors(bench: Bench, case: Path) -> list[str]:
    line = world.COMMANDS["prepare"]
    wanted = kills.undisturbed(line, bench.inputs, case, bench.folder / "changes")
    return list(_limited(bench, line, case, "descriptors", wanted))
