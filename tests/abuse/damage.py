"""Damage a file of every kind of folder that we write, then use it.

Invariant: the use is refused with one line, or its result is that of the undamaged folder.
"""

import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from . import child, kills
from .row import Bench, Found


class Kind(NamedTuple):
    """A kind of folder. {it}: a copy of it, {out}: where its use writes.

    make: the command that makes it, in {out}; None: it is among the inputs. killed: the share of
    its changes after which that command is killed. folder: it, below `make`'s output or the inputs.
    files: what may be damaged. use: the command that reads it. results: what of all is compared.
    goes_on: whether nothing may refuse it.
    """

    folder: str
    use: str
    make: str | None = None
    killed: float | None = None
    files: str = "**/*"
    results: str = "out/**/*"
    goes_on: bool = False


_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:")
_TRAIN = "train --data {w}/store --out %s/run --total-kimg 0.048 TRAIN"
_PREPARE = "prepare {w}/videos --out %s/store --size 16 --every 2 --workers 1"
_SAMPLE = "sample {w}/run --out %s/made -n 24 STEPS"
_EVALUATE = "evaluate %s %s --features random --metrics frechet,kid --out {out}/found"
_SHIFT = "shift {w}/made {w}/store --classifiers linear --epochs 2 --out %s/shift"
_CHOOSE = (
    "choose-epoch {w}/run --data {w}/store --out %s/choice -n 8 --repeats 2 --guidance {w}/disc "
    "--features random STEPS"
)

KINDS = {
    "store": Kind("store", _EVALUATE % ("{w}/made", "{it}")),
    "generated store": Kind("made", _EVALUATE % ("{it}", "{w}/store")),
    "run": Kind("run", "sample {it} --out {out}/made -n 8 STEPS"),
    "averages of a run": Kind("run/ema", "ema {it}/.. --length 0.1 --out {out}/ema.safetensors"),
    "discriminator": Kind(
        "disc", "sample {w}/run --out {out}/made -n 8 --guidance {it} --steps 2 --batch 8"
    ),
    "newest checkpoint": Kind(
        *("run", _TRAIN % "{it}/..", _TRAIN % "{out}", 0.8),
        files="state/NEWEST*",
        results="run/model.safetensors",
        goes_on=True,
    ),
    "half a prepared store": Kind(
        *("store.partial", _PREPARE % "{it}/..", _PREPARE % "{out}", 0.5), results="store/*.npy"
    ),
    "half a sampled store": Kind(
        *("made.partial", _SAMPLE % "{it}/..", _SAMPLE % "{out}", 0.6), results="made/*.npy"
    ),
    "cached features": Kind(
        "cache", _EVALUATE % ("{w}/made", "{w}/store"), _EVALUATE % ("{w}/made", "{w}/store")
    ),
    "fits of classifiers": Kind(
        *("shift", _SHIFT % "{it}/..", _SHIFT % "{out}"),
        files="fits/*",
        results="shift/shift.json",
    ),
    "choice of an epoch": Kind(
        "choice", _CHOOSE % "{it}/..", _CHOOSE % "{out}", 0.8, results="choice/*.json"
    ),
}


def flip(path: Path, draw: random.Random) -> None:
    """Flip one bit."""
    data = bytearray(path.read_bytes())
    if data:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def cut(path: Path, draw: random.Random) -> None:
    """Cut the file at a random place."""
    path.write_bytes(path.read_bytes()[: draw.randrange(max(1, path.stat().st_size))])


def delete(path: Path, draw: random.Random) -> None:
    """Delete the file."""
    path.unlink()


def zero(path: Path, draw: random.Random) -> None:
    """Fill the file with zeros, as a disk does after a power failure."""
    path.write_bytes(bytes(path.stat().st_size))


def swap(path: Path, draw: random.Random) -> None:
    """Put the content of another file of that kind in its place."""
    others = [p for p in path.parent.rglob(f"*{path.suffix}") if p.is_file() and p != path]
    path.write_bytes(draw.choice(others).read_bytes() if others else b"{}")


# How often each is done to each kind of folder in the long form: 209 flips, 110 cuts.
DAMAGES: dict[Callable[[Path, random.Random], None], int] = {
    flip: 19,
    cut: 10,
    delete: 4,
    zero: 4,
    swap: 4,
}
_QUICK = ("averages of a run", "half a prepared store")


def every_kind(bench: Bench) -> Found:
    """Damage every kind of folder in every way, and use it."""
    done, faults = 0, []
    for name in _QUICK if bench.quick else KINDS:
        master = bench.fresh("master")
        _make(KINDS[name], bench, master)
        wanted = _results(KINDS[name], bench, _used(KINDS[name], bench, master))
        for damage, count in DAMAGES.items():
            for number in range(bench.times(damage in (flip, cut, delete), count)):
                draw = random.Random(f"{name} {number}")
                done += 1
                if found := _damaged(KINDS[name], bench, master, damage, draw, wanted):
                    faults.append(f"{name}, {damage.__name__} {number}: {found}")
    return Found(f"{done} damages of {len(KINDS)} kinds of folders", faults)


def _make(kind: Kind, bench: Bench, master: Path) -> None:
    """Put a whole folder of the kind, and the caches that go with it, into `master`."""
    if kind.make is None:
        top = kind.folder.partition("/")[0]
        shutil.copytree(bench.inputs / top, master / top)
        return
    log = bench.folder / "changes.txt"
    words = bench.words(kind.make, master)
    assert child.run(words, kills.Killer(master, None, log).install).code == 0
    if kind.killed:
        point = kills.Point(int(kind.killed * len(log.read_text().splitlines())))
        bench.fresh("master")
        child.run(words, kills.Killer(master, point).install)


def _used(
    kind: Kind, bench: Bench, master: Path, damage: Callable[[Path], None] | None = None
) -> child.Ended:
    """Copy the folder, damage it, use it; return how that ended."""
    case = bench.fresh()
    shutil.copytree(master, case, dirs_exist_ok=True)
    it, out = case / kind.folder, case / "out"
    out.mkdir()
    if damage:
        damage(it)
    line = kind.use.replace("{it}/..", str(it.parent)).replace("{it}", str(it))
    return child.run(bench.words(line, out))


def _results(kind: Kind, bench: Bench, ended: child.Ended) -> dict[str, str]:
    """Return the leaves of what a use wrote and said, but times and what depends on them."""
    assert ended.code == 0, ended.err
    files = [path for path in (bench.folder / "case").glob(kind.results) if path.is_file()]
    found = {f"{path.name}#{key}": value for path in files for key, value in kills.parts(path)}
    assert found or kind.results.startswith("out"), f"there is no {kind.results}"
    volatile = ("time", "signature", "seconds")
    every = found | kills.said(ended)
    return {
        key: value
        for key, value in every.items()
        if not key.endswith(volatile) and not _TIME.search(value)
    }


def _damaged(
    kind: Kind,
    bench: Bench,
    master: Path,
    damage: Callable[[Path, random.Random], None],
    draw: random.Random,
    wanted: dict[str, str],
) -> str:
    """Return what is wrong with the use of a damaged folder; nothing: "" ."""
    name = ""

    def spoil(it: Path) -> None:
        nonlocal name
        newest = max((path.stem for path in it.glob("state/*.json")), default="")
        files = it.glob(kind.files.replace("NEWEST", newest))
        path = draw.choice(sorted(p for p in files if p.is_file() and p.name != ".lock"))
        name = str(path.relative_to(it))
        damage(path, draw)

    ended = _used(kind, bench, master, spoil)
    if ended.code:
        refused = ended.refused and not kind.goes_on
        return "" if refused else f"{name}: exit {ended.code}: {ended.last}"
    if kind.goes_on and Path(name).stem not in ended.err:
        return f"{name}: not said: {ended.last}"
    try:
        found = _results(kind, bench, ended)
    except (ValueError, AssertionError) as error:
        return f"{name}: its results are damaged: {error!r:.100}"
    other = [] if found == wanted else list(kills.different(wanted, found))
    return f"{name}: silent: {other[0]}" if other else ""
