"""Train, sample and evaluate in one process for hours: what it holds stays what it was.

Invariant: after the first rounds memory, descriptors and threads are flat within 2 %, and no
temporary file is left.
"""

import gc
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from . import child, world
from .row import Bench, Found

_FLAT = 1.02


def for_hours(bench: Bench) -> Found:
    """Run rounds in one child; the long form takes 12 times the seconds of a row: 2 hours."""
    case, report = bench.fresh(), bench.folder / "rounds.json"
    seconds = 0 if bench.quick else 12 * bench.seconds
    ended = child.call(lambda: _rounds(bench, case, seconds, report), seconds=seconds + 600)
    if ended.code:
        return Found("", [ended.err[-2000:]])
    rows = json.loads(report.read_bytes())
    faults, warm = [], bench.times(1, 5)
    for key in ("megabytes", "descriptors", "threads", "temporary"):
        values = [row[key] for row in rows[warm:]]
        third = max(1, len(values) // 3)
        first, last = statistics.median(values[:third]), statistics.median(values[-third:])
        exact = key != "megabytes"
        # In a few rounds memory still settles: the quick form looks at what is counted exactly.
        if last > first * (1 if exact else _FLAT) and (exact or not bench.quick):
            faults.append(f"{key}: {first:g} at first, {last:g} in the end")
    size = f"{rows[-1]['megabytes']:.0f} MB, {rows[-1]['descriptors']} descriptors"
    return Found(f"{len(rows)} rounds in {rows[-1]['seconds']:.0f} s; {size}", faults)


def _rounds(bench: Bench, case: Path, seconds: float, report: Path) -> None:
    import echosweep

    os.environ["TMPDIR"] = tempfile.tempdir = str(case / "tmp")
    (case / "tmp").mkdir()
    options = world.words("TRAIN", case, case)
    names = [word.removeprefix("--").replace("-", "_") for word in options[::2]]
    settings = dict(zip(names, options[1::2], strict=True)) | {"grid_images": "0"}
    rows, begun = [], time.monotonic()
    while len(rows) < bench.times(3, 10) or time.monotonic() < begun + seconds:
        echosweep.train(bench.inputs / "store", case / "run", total_kimg=0.016, **settings)
        echosweep.sample(case / "run", case / "made", num=8, steps=2)
        echosweep.evaluate(case / "made", bench.inputs / "store", features="random")
        for name in ("run", "made"):
            shutil.rmtree(case / name)
        rows.append(_held(case, time.monotonic() - begun))
    report.write_text(json.dumps(rows))
    print(f"{len(rows)} rounds", file=sys.stderr)


def _held(case: Path, seconds: float) -> dict[str, float]:
    gc.collect()  # what waits for it is not held
    status = Path("/proc/self/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return {
        "seconds": seconds,
        "megabytes": int(fields["VmRSS"].split()[0]) / 1024,
        "threads": int(fields["Threads"]),
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "temporary": sum(1 for _ in (case / "tmp").rglob("*")) + sum(1 for _ in case.glob("*")),
    }
