"""Give each reader files with random faults, and studies with broken videos among whole ones.

Invariant: a reader ends in 5 s with a result or one line, never by a crash, and within 1 GB.
"""

import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from echosweep.data.store import FrameStore

from ..conformance.test_sources import MAKERS
from . import child, damage
from .row import Bench, Found

SECONDS, MEMORY = 5.0, 1 << 30
_PREPARE = "prepare {it} --out {out}/store --size 8 --workers 1 --max-excluded 0.9 --kind "
_BYTES = (
    b"\x00",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"-1",
    b"1e999",
    b"%s",
    b"../",
    b"\n",
    b",",
    b"\xfe\xff",
)


def _made(kind: str) -> Callable[[Bench, Path], None]:
    return lambda bench, it: MAKERS[kind](it)


def _copy(name: str) -> Callable[[Bench, Path], None]:
    return lambda bench, it: shutil.copytree(bench.inputs / name, it) and None


def _config(bench: Bench, it: Path) -> None:
    it.mkdir()
    shutil.copy(bench.inputs / "run" / "config.yaml", it / "a.yaml")


def _table(bench: Bench, it: Path) -> None:
    MAKERS["folder"](it)
    rows = ["file,split,patient,EF"] + [f"v{n}.mkv,train,p{n},{50 + n}" for n in range(4)]
    (it / "metadata.csv").write_text("\n".join(rows))


# What is read: what makes it, the command, and which of its files are spoilt.
READERS: dict[str, tuple[Callable[[Bench, Path], None], str, str]] = {
    **{kind: (_made(kind), _PREPARE + kind, "*") for kind in MAKERS},
    "table": (_table, _PREPARE + "folder", "*.csv"),
    "weights": (_copy("run"), "sample {it} --out {out}/made -n 2 --steps 2", "model.*"),
    "store": (_copy("store"), "floor {it} --features random --repeats 2", "*"),
    "discriminator": (
        *(_copy("disc"), "sample {w}/run --guidance {it} --out {out}/made -n 2 --steps 2", "*"),
    ),
    "config": (
        *(_config, "train --data {w}/store --config {it}/a.yaml --out {out} --dry-run", "*.yaml"),
    ),
}


def each_reader(bench: Bench) -> Found:
    """Give each reader spoilt files until its seconds are over."""
    faults, files = [], 0
    for name, reader in READERS.items():
        seeds = _seeds(bench, name, reader[0])
        for number in [0] if bench.quick else bench.until_late():
            draw = random.Random(f"{name} {number}")
            files += 1
            if found := _given(bench, draw.choice(seeds), reader, draw):
                faults.append(f"{name} {number}: {found}")
    return Found(f"{files} spoilt files of {len(READERS)} readers", faults)


def _seeds(bench: Bench, name: str, make: Callable[[Bench, Path], None]) -> list[Path]:
    """Return folders that the reader takes: one made, and those of real data, if there are any."""
    made = bench.folder / "seeds" / name
    made.parent.mkdir(exist_ok=True)
    make(bench, made)
    real = Path(os.environ.get("ECHOSWEEP_TEST_DATA", "/none"))
    more = {"dicom": real / "a4c", "folder": real / "clips" / "linear"}.get(name)
    return [made, more] if more and more.is_dir() and not bench.quick else [made]


def _given(
    bench: Bench,
    seed: Path,
    reader: tuple[Callable[[Bench, Path], None], str, str],
    draw: random.Random,
) -> str:
    _, line, pattern = reader
    case = bench.fresh()
    it = Path(shutil.copytree(seed, case / "in"))
    files = sorted(path for path in it.rglob(pattern) if path.is_file() and path.name != ".lock")
    for _ in range(draw.randint(1, 3)):
        path = draw.choice(files)
        if path.exists():
            draw.choice((spoil, spoil, damage.flip, damage.cut, damage.zero))(path, draw)
    begun = time.monotonic()
    words = bench.words(line.replace("{it}", str(it)), case / "out")
    ended = child.run(words, _little_memory, SECONDS * (1 if not bench.quick else 12))
    if ended.code and not ended.refused:
        return (
            f"{path.name}: exit {ended.code} after {time.monotonic() - begun:.1f} s: {ended.last}"
        )
    return ""


def spoil(path: Path, draw: random.Random) -> None:
    """Overwrite, insert, repeat or remove some bytes."""
    data = bytearray(path.read_bytes()[: 1 << 20])
    for _ in range(draw.choice((1, 2, 8, 40))):
        at, piece = draw.randrange(len(data) + 1), draw.choice((draw.randbytes(4), *_BYTES))
        kind = draw.randrange(4)
        if kind == 0:
            data[at : at + len(piece)] = piece
        elif kind == 1:
            data[at:at] = piece
        elif kind == 2:
            data[at:at] = data[at : at + draw.choice((1, 16, 300))] * draw.choice((1, 50))
        else:
            del data[at : at + draw.choice((1, 16, 300))]
    path.write_bytes(data)


def _little_memory() -> None:
    """Let this process have 1 GB more than it has now; what is mapped from files counts too."""
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def broken_videos(bench: Bench) -> Found:
    """Break one video in a hundred: each is listed with a reason, and the rest is the same."""
    count = bench.times(20, 1000)
    source, case = bench.folder / "videos", bench.fresh()
    words = ["phantom", str(source), "--videos", str(count), "--frames", "4", "--size", "32"]
    assert child.run([*words, "--workers", "2"], seconds=3000).code == 0
    draw = random.Random(0)
    broken = draw.sample(sorted((source / "Videos").iterdir()), max(2, count // 100))
    for number, path in enumerate(broken):
        (damage.zero, lambda path, _: path.write_bytes(path.read_bytes()[:400]))[number % 2](
            path, draw
        )
    faults, found = [], []
    for workers in (1, 2):
        out = case / f"store-{workers}"
        line = f"prepare {source} --out {out} --size 16 --every 1 --workers {workers}"
        ended = child.run([*line.split(), "--max-excluded", "0.2"], seconds=3000)
        if ended.code:
            return Found(f"{count} videos", [f"exit {ended.code}: {ended.last}"])
        found.append(FrameStore.open(out))
        excluded = found[-1].manifest["excluded"]
        listed = {name for name, reason in excluded.items() if reason}
        if listed != {path.stem for path in broken}:
            faults.append(f"{workers} workers: {len(listed)} listed, {len(broken)} are broken")
    if found[0].identity != found[1].identity:
        faults.append("1 and 2 workers made different stores")
    whole = np.mean(np.asarray(found[0].images[:8])) > 0
    return Found(f"{len(broken)} broken of {count}", faults if whole else [*faults, "black images"])
