"""Kill a command at the n-th change of the file system, for each n, and run it again.

A change is an open for writing, a rename, link, unlink, mkdir, rmdir, fsync or truncation that the
command's process asks Python for, of a path in its output folder; it is killed just before or just
after. What C code writes lies between two of them: the files it fills are opened or synced by us.
Invariant: `n` counts the same changes in each run, so that a point can be run again.

    python -m tests.abuse.kills sample:17b     that point alone, and what differs
"""

import builtins
import functools
import hashlib
import io
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from . import child, world
from .row import Bench, Found

_CHANGES = (
    *("open", "rename", "replace", "link", "symlink", "unlink", "remove", "mkdir", "rmdir"),
    *("fsync", "fdatasync", "ftruncate", "truncate", "posix_fallocate"),
)
# They say how it went, as on which row of the log a process ended: they are there and whole.
_HISTORY = ("metrics.jsonl", "loss.png")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Point(NamedTuple):
    """Where to kill: before or after the change of that number, from 1."""

    number: int
    after: bool = False

    def __str__(self) -> str:
        return f"{self.number}{'a' if self.after else 'b'}"


class Report(NamedTuple):
    """What a sweep found: the points tried, and what was wrong after which of them."""

    points: int
    faults: dict[str, list[str]]


class Killer:
    """Counts the changes below `root` and kills this process at one of them.

    log: a file, outside `root`, that gets a line for each change.
    """

    def __init__(self, root: Path, point: Point | None, log: Path | None = None) -> None:
        self.root, self.point, self.count = str(root), point, 0
        self.log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) if log else None

    def install(self) -> None:
        """Wrap what changes files, in this process, for good."""
        for name in _CHANGES:
            setattr(os, name, self._wrapped(getattr(os, name), name))
        builtins.open = io.open = self._wrapped(io.open, "open")  # type: ignore[assignment]

    def _wrapped(self, change: Callable[..., Any], name: str) -> Callable[..., Any]:
        @functools.wraps(change)
        def wrapper(*args: Any, **more: Any) -> Any:
            if not self._counts(name, change is io_open, args, more):
                return change(*args, **more)
            self.count += 1
            if self.log is not None:
                os_write(self.log, f"{name} {self._path(args, more)}\n".encode())
            self._kill_at(Point(self.count, after=False))
            number = self.count
            try:
                return change(*args, **more)
            finally:
                self._kill_at(Point(number, after=True))

        io_open, os_write = io.open, os.write
        return wrapper

    def _kill_at(self, point: Point) -> None:
        if point == self.point:
            os.kill(os.getpid(), signal.SIGKILL)

    def _counts(self, name: str, is_io: bool, args: Any, more: Any) -> bool:
        if name == "open":
            given = args[1] if len(args) > 1 else more.get("mode", more.get("flags", "r"))
            writes = set("wax+") & set(given) if is_io else given & WRITING
            if not writes:
                return False
        return self._path(args, more).startswith(self.root)

    def _path(self, args: Any, more: Any) -> str:
        what, folder = args[0] if args else more.get("path", more.get("file")), more.get("dir_fd")
        if isinstance(what, int):
            return _link(what)
        path = os.fsdecode(what)
        return os.path.join(_link(folder) if folder else os.getcwd(), path)  # noqa: PTH118, PTH109


def _link(descriptor: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115
    except OSError:
        return ""


def sweep(
    line: str,
    inputs: Path,
    folder: Path,
    pick: Callable[[list[Point]], list[Point]] = lambda points: points,
    again: bool = False,
) -> Report:
    """Kill a command at each of its points, run it again, and compare with an undisturbed run.

    pick: which points to try. again: kill the second run too, at a point drawn by the first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    case, log = folder / "case", folder / "changes.txt"
    wanted = undisturbed(line, inputs, case, log)
    count = len(log.read_text().splitlines())
    points = pick([Point(n, after) for n in range(1, count + 1) for after in (False, True)])
    faults = {}
    for point in points:
        draw, kills = random.Random(str(point)), [point]
        if again:
            kills.append(Point(draw.randint(1, count), draw.random() < 0.5))
        if found := killed(line, inputs, case, kills, wanted):
            faults[" ".join(map(str, kills))] = found
    return Report(len(points), faults)


def undisturbed(line: str, inputs: Path, case: Path, log: Path) -> dict[str, str]:
    """Run a command twice, undisturbed; return the leaves of what it wrote that are equal."""
    first = _finished(line, inputs, case, Killer(case, None, log))
    time.sleep(1.1)  # so that a time, written in seconds, is another one
    second = _finished(line, inputs, case, Killer(case, None))
    assert first.keys() == second.keys(), sorted(first.keys() ^ second.keys())
    return {key: value if value == second[key] else "" for key, value in first.items()}


def _finished(line: str, inputs: Path, case: Path, killer: Killer) -> dict[str, str]:
    _fresh(case)
    ended = child.run(world.words(line, inputs, case), killer.install)
    assert ended.code == 0, ended.err
    return leaves(case) | said(ended)


def killed(
    line: str, inputs: Path, case: Path, points: list[Point], wanted: dict[str, str]
) -> list[str]:
    """Kill a command at these points, one run each; return what is wrong once it ends."""
    _fresh(case)
    for point in points:
        child.run(world.words(line, inputs, case), Killer(case, point).install)
    ended = child.run(world.words(line, inputs, case))
    if ended.code:
        return [f"exit {ended.code}: {ended.last}"]
    return list(different(wanted, leaves(case) | said(ended)))


def _fresh(case: Path) -> None:
    shutil.rmtree(case, ignore_errors=True)
    case.mkdir(parents=True)
    world.use_cache(case / "cache")


def different(wanted: dict[str, str], found: dict[str, str]) -> Iterator[str]:
    """Yield what is missing, what is left over and what is not as it would be undisturbed."""
    files = [{key.partition("#")[0] for key in leaves_} for leaves_ in (wanted, found)]
    yield from (f"missing: {name}" for name in sorted(files[0] - files[1]))
    yield from (f"left over: {name}" for name in sorted(files[1] - files[0]))
    for key in sorted(wanted.keys() | found.keys()):
        one, two = wanted.get(key, "-"), found.get(key, "-")
        if key.partition("#")[0] in files[0] & files[1] and one not in ("", two):
            yield f"other: {key}: {two:.60}, not {one:.60}"


def leaves(folder: Path) -> dict[str, str]:
    """Return everything in a folder, by path: JSON and text in parts, other files as a hash."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink() or not path.is_file():
            found[name] = f"-> {path.readlink()}" if path.is_symlink() else "folder"
        else:
            read = {f"{name}#{key}": value for key, value in parts(path)}
            found |= {f"{name}#": "whole"} if path.name in _HISTORY else read
    return found


def parts(path: Path) -> Iterator[tuple[str, str]]:
    """Yield what a file holds, by keys: the values of JSON, the lines of text, or one hash."""
    data = path.read_bytes()
    if path.suffix == ".json":
        yield from _flat("", json.loads(data))
    elif path.suffix in (".jsonl", ".html", ".md", ".csv", ".tex", ".yaml"):
        lines = data.decode().splitlines()
        for number, line in enumerate(lines):
            value = json.loads(line) if path.suffix == ".jsonl" else line
            yield from _flat(str(number), value)
    else:
        yield "", hashlib.sha256(data).hexdigest()


def _flat(key: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict | list):
        yield key, type(value).__name__
        for name, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _flat(f"{key}.{name}", part)
    else:
        yield key, repr(value)


def said(ended: child.Ended) -> dict[str, str]:
    """Return the leaves of what a command printed, if that is JSON."""
    try:
        return {f"(stdout)#{key}": value for key, value in _flat("", json.loads(ended.out))}
    except ValueError:
        return {}


def at_each_change(bench: Bench) -> Found:
    """Kill every command at each of its changes, and the second run at another one."""
    quick = ("phantom", "prepare", "ema")  # the others take seconds each
    points, faults = 0, []
    for name in quick if bench.quick else world.COMMANDS:
        pick = partial(bench.some, count=2, seed=points)
        report = sweep(world.COMMANDS[name], bench.inputs, bench.folder, pick, again=True)
        points += report.points
        faults += [
            f"{name}:{where}: {what}" for where, found in report.faults.items() for what in found
        ]
    return Found(f"{points} points of {len(world.COMMANDS)} commands, two kills each", faults)


def at_random(bench: Bench) -> Found:
    """Kill commands at random moments until they have done their work."""
    names = ("sample",) if bench.quick else tuple(world.COMMANDS)
    kills, faults = 0, []
    for name in names:
        line = world.COMMANDS[name]
        wanted = undisturbed(line, bench.inputs, bench.folder / "case", bench.folder / "changes")
        for number in range(bench.times(1, 100 if name == "train" else 20)):
            done, found = _killed_at_random(bench, line, wanted, random.Random(f"{name} {number}"))
            kills += done
            faults += [f"{name} {number}: {what}" for what in found]
    return Found(f"{kills} kills of {len(names)} commands", faults)


def _killed_at_random(
    bench: Bench, line: str, wanted: dict[str, str], draw: random.Random
) -> tuple[int, list[str]]:
    """Kill a command at a few random moments; return how often, and what is wrong in the end."""
    case, kills = bench.fresh(), 0
    for _ in range(draw.randint(1, 3)):
        running = child.start(bench.words(line, case))
        time.sleep(draw.uniform(0.05, 1.0))
        kills += running.poll() is None
        running.wait(seconds=0)
    ended = child.run(bench.words(line, case))
    if ended.code:
        return kills, [f"exit {ended.code}: {ended.last}"]
    return kills, list(different(wanted, leaves(case) | said(ended)))


def main() -> None:
    """Run points given as COMMAND:12b,13a, or whole commands; say what is wrong after each."""
    child.preload()
    folder = Path(os.environ.get("ABUSE", "/tmp/abuse")).resolve()
    inputs = world.make(folder / "inputs")
    for word in sys.argv[1:]:
        name, _, given = word.partition(":")
        picked = [Point(int(p[:-1]), p[-1] == "a") for p in given.split(",") if p]
        report = sweep(
            world.COMMANDS[name],
            inputs,
            folder,
            lambda points, picked=picked: picked or points,  # type: ignore[misc]
        )
        changes = (folder / "changes.txt").read_text().splitlines()
        print(f"{name}: {report.points} points, {len(report.faults)} with faults", flush=True)
        for point, faults in report.faults.items():
            change = changes[int(point.split()[0][:-1]) - 1]
            print(f"  {name}:{point} ({change.replace(str(folder), '')})")
            print(*(f"      {fault}" for fault in faults[:6]), sep="\n", flush=True)


if __name__ == "__main__":
    main()
