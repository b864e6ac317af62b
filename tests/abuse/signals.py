"""Stop training by signals, at random moments, and continue it.

Invariant: what is stopped has saved and ends within 30 s, with a code that says that the same
command continues; the end result is that of a run which nothing stopped, bit for bit.
"""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from echosweep import runs

from . import child
from .row import Bench, Found

STOPPED = (75, 130)  # 75: queue it again, as sysexits.h has it; 130: as a shell says of Ctrl-C
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
_TRAIN = "train --data {w}/store --out {out}/run --total-kimg 0.096 TRAIN --checkpoint-minutes 60"
_FEW = _TRAIN + " --grid-images 0"
_DISCRIMINATE = (
    "discriminate --data {w}/store --generated {w}/made --model {w}/run --out {out}/run "
    "--epochs 6 --batch 8 --held-out 4"
)
# {data}: a store whose images have a class.
RUNS = {
    "plain": _FEW,
    "micro-batches": f"{_FEW} --micro-batch 3",
    "post-hoc EMA": f"{_FEW} --posthoc-ema",
    "conditions": _FEW.replace("{w}/store", "{data}") + " --label class",
    "discriminator": _DISCRIMINATE,
}
# One step takes minutes, of passes of milliseconds; --grid-images: the first grid takes long too.
_LONG_STEP = f"{_FEW} --batch 40000 --micro-batch 8"
_LONG_GRID = f"{_TRAIN} --grid-images 64 --grid-steps 1000"


def resumed(bench: Bench) -> Found:
    """Stop each kind of run at random steps, and compare its end with a run left alone."""
    stops, faults = 0, []
    processes = (1,) if bench.quick else (1, 2)
    for name, line in RUNS.items():
        if bench.quick and name != "micro-batches":
            continue
        if "{data}" in line:
            line = line.replace("{data}", str(_labelled(bench)))
        for number in processes:
            wanted = _undisturbed(bench, line, number)
            for draw in range(bench.times(1, 20)):
                sent = [signal.SIGTERM] * (1 + draw % 2)
                found = list(_stopped(bench, line, sent, random.Random(draw), wanted, number))
                faults += [f"{name}, {number} processes, {draw}: {what}" for what in found]
                stops += len(sent)
    return Found(f"{stops} stops of {len(RUNS)} kinds of runs", faults)


def each_signal(bench: Bench) -> Found:
    """Send each signal at random moments, once or twice, also in a long step and a long grid."""
    line, faults, sent = RUNS["plain"], [], 0
    wanted = "" if bench.quick else _undisturbed(bench, line, 1)
    for number in SIGNALS:
        for draw in range(bench.times(1, 50)):
            found = _stopped(bench, line, [number], random.Random(draw), wanted, 1)
            faults += [f"{number.name} {draw}: {what}" for what in found]
            sent += 1
    for name, long in {"step": _LONG_STEP, "grid": _LONG_GRID}.items():
        for number in (SIGNALS[:1] if name == "step" else ()) if bench.quick else SIGNALS:
            faults += [
                f"{number.name} in a long {name}: {w}" for w in _in_long(bench, long, number)
            ]
            sent += 1
    for draw in range(bench.times(1, 20)):
        found = _twice(bench, line, random.Random(draw), wanted)
        faults += [f"two signals, {draw}: {what}" for what in found]
        sent += 2
    return Found(f"{sent} signals", faults)


def _undisturbed(bench: Bench, line: str, processes: int) -> str:
    case = bench.fresh()
    ended = _start(bench.words(line, case), processes).wait(600)
    assert ended.code == 0, ended.err
    return runs.sha256_file(case / "run" / "model.safetensors")


def _stopped(
    bench: Bench,
    line: str,
    signals: list[signal.Signals],
    draw: random.Random,
    wanted: str,
    processes: int,
) -> Iterator[str]:
    """Stop a run once by each signal; yield what is wrong then, and in the end.

    wanted: the hash of its weights in the end; "": do not go on to the end.
    """
    case = bench.fresh()
    for number in signals:
        running = _start(bench.words(line, case), processes)
        _wait_until_begun(running)
        time.sleep(draw.uniform(0, 0.4))
        running.send(number)
        ended = running.wait(30 if processes == 1 else 60)
        code = 130 if number == signal.SIGINT else 75
        if ended.code not in (0, code) and processes == 1:  # torchrun has codes of its own
            yield f"exit {ended.code}: {ended.last}"
        if ended.code in STOPPED and not list((case / "run" / "state").glob("*.json")):
            yield "nothing was saved"
    if wanted:
        yield from _ends_as(bench, line, case, wanted, processes)


def _ends_as(bench: Bench, line: str, case: Path, wanted: str, processes: int) -> Iterator[str]:
    ended = _start(bench.words(line, case), processes).wait(600)
    if ended.code:
        yield f"not continued: exit {ended.code}: {ended.last}"
    elif runs.sha256_file(case / "run" / "model.safetensors") != wanted:
        yield "other weights in the end"
    if left := sorted(path.name for path in (case / "run").rglob("*.tmp")):
        yield f"left over: {left[0]}"


def _in_long(bench: Bench, line: str, number: signal.Signals) -> Iterator[str]:
    """Stop a run within its first step or grid, which takes minutes."""
    case = bench.fresh()
    running = child.start(bench.words(line, case))
    end = time.monotonic() + 30
    while not (case / "run" / "metrics.jsonl").exists() and time.monotonic() < end:
        time.sleep(0.02)
    time.sleep(1)
    running.send(number)
    ended = running.wait(30)
    if ended.code not in STOPPED:
        yield f"exit {ended.code}: {ended.last}"


def _twice(bench: Bench, line: str, draw: random.Random, wanted: str) -> Iterator[str]:
    """Send a second signal right after the first: the run ends at once, and can be continued."""
    case = bench.fresh()
    running = child.start(bench.words(line, case))
    _wait_until_begun(running)
    time.sleep(draw.uniform(0, 0.3))
    running.send(signal.SIGTERM)
    time.sleep(draw.uniform(0, 0.02))
    running.send(signal.SIGTERM)
    ended = running.wait(30)
    if "Traceback" in ended.err or ended.code not in (0, -signal.SIGTERM, *STOPPED):
        yield f"exit {ended.code}: {ended.last}"
    if wanted:
        yield from _ends_as(bench, line, case, wanted, 1)


def _wait_until_begun(running: child.Child) -> None:
    """Wait until the first progress was said: the command has its handlers then."""
    end = time.monotonic() + 120
    while running.poll() is None and time.monotonic() < end:
        if ":" in running.said():
            return
        time.sleep(0.01)


def _start(words: list[str], processes: int) -> child.Child:
    if processes == 1:
        return child.start(words)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launcher, f"--nproc-per-node={processes}", "-m", "echosweep", *words]

    def launch() -> None:
        running = subprocess.Popen(command)
        for number in SIGNALS:
            signal.signal(number, lambda got, _: running.send_signal(got))
        sys.exit(abs(running.wait()))

    return child.Child(launch)


def _labelled(bench: Bench) -> Path:
    """Return a store whose images have a class: bright or dark noise."""
    store, images = bench.folder / "labelled", bench.folder / "images"
    if not store.exists():
        draw = np.random.default_rng(0)
        for number in range(32):
            folder = images / ("dark", "bright")[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            pixels = draw.integers(0, 128, (16, 16)) + 127 * (number % 2)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
        words = ["prepare", str(images), "--out", str(store), "--size", "16", "--workers", "1"]
        ended = child.run([*words, "--folders", "class", "--splits", "0.75,0.125,0.125"])
        assert ended.code == 0, ended.err
    return store
