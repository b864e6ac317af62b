"""Tiny inputs, made once, and every command on them. To add a command, add its line to COMMANDS."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from . import child

TRAIN = (
    *("--network", "ddpmpp-tiny", "--model-channels", "8", "--batch", "8", "--lr", "5e-3"),
    *("--warmup-kimg", "0", "--grid-images", "4", "--grid-steps", "2", "--snapshots", "1"),
    *("--checkpoint-minutes", "1e-9", "--ema-rampup", "0.1"),
)
STEPS = ("--steps", "2", "--batch", "8")

# {w}: the folder of the inputs, {out}: an empty folder for this run. A word more: see `words`.
COMMANDS = {
    "phantom": "phantom {out}/videos --videos 3 --frames 4 --size 32 --workers 1",
    "prepare": "prepare {w}/videos --out {out}/store --size 16 --every 2 --workers 1 "
    "--preview {out}/preview",
    "train": "train --data {w}/store --out {out}/run --total-kimg 0.032 TRAIN",
    "train-posthoc": "train --data {w}/store --out {out}/run --total-kimg 0.032 --posthoc-ema "
    "--micro-batch 4 TRAIN",
    "sample": "sample {w}/run --out {out}/made -n 16 --grid {out}/grid.png STEPS",
    "guided": "sample {w}/run --out {out}/made -n 16 --guidance {w}/disc STEPS",
    "ema": "ema {w}/run --length 0.1 --out {out}/ema.safetensors",
    "discriminate": "discriminate --data {w}/store --generated {w}/made --model {w}/run "
    "--out {out}/disc --epochs 2 --batch 8 --held-out 4",
    "choose-epoch": "choose-epoch {w}/run --data {w}/store --out {out}/choice -n 8 --repeats 2 "
    "--guidance {w}/disc --features random STEPS",
    "evaluate": "evaluate {w}/made {w}/store --metrics all --features random --out {out}/found",
    "floor": "floor {w}/store --features random --repeats 2 --plot {out}/floor.png",
    "copies": "copies {w}/made {w}/store --features random --rate 0.1 --out {out}/copies "
    "--drop {out}/kept",
    "shift": "shift {w}/made {w}/store --classifiers linear --epochs 2 --out {out}/shift",
    "utility": "utility {w}/made {w}/store --label EF --teacher --network linear --epochs 2 "
    "--repeats 1 --out {out}/utility",
}
_SHORT = {"TRAIN": TRAIN, "STEPS": STEPS}

_INPUTS = (
    "phantom {w}/videos --videos 12 --frames 8 --size 32 --workers 1",
    "prepare {w}/videos --out {w}/store --size 16 --every 2 --workers 1",
    "train --data {w}/store --out {w}/run --total-kimg 0.048 --posthoc-ema TRAIN",
    "sample {w}/run --out {w}/made -n 24 STEPS",
    "discriminate --data {w}/store --generated {w}/made --model {w}/run --out {w}/disc "
    "--epochs 2 --batch 8 --held-out 4",
)


def words(line: str, world: Path, out: Path) -> list[str]:
    """Return the words of a command's line; what is written goes to the folder `out` only.

    Of an option with a value that is there twice the later one counts.
    """
    found: list[str] = []
    for word in line.split():
        found += _SHORT.get(word, (word.format(w=world, out=out),))
    for option in {word for word in found if word.startswith("--") and found.count(word) > 1}:
        at = found.index(option)
        del found[at : at + 2]
    return found


def make(world: Path) -> Path:
    """Make the inputs, unless they are there; return their folder."""
    if (world / "made.txt").exists():
        return world
    shutil.rmtree(world, ignore_errors=True)
    use_cache(world / "cache")
    for line in _INPUTS:
        ended = child.run(words(line, world, world))
        assert ended.code == 0, ended.err
    (world / "made.txt").touch()
    return world


def use_cache(folder: Path) -> None:
    """Let commands keep their caches in `folder`, and find no weights but its own."""
    os.environ["ECHOSWEEP_CACHE"] = os.environ["HOME"] = str(folder)
    folder.mkdir(parents=True, exist_ok=True)


def chosen(names: Sequence[str]) -> dict[str, str]:
    """Return the lines of the commands of these names; none: of every command."""
    return {name: COMMANDS[name] for name in names or COMMANDS}
