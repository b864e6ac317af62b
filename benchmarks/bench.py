"""Is every stage near what the machine allows? Ours beside what a user would pick instead.

    python benchmarks/bench.py [NAMES...] [--out bench] [--quick] [--pairs 5] [--threads 1]

Each name is a module of this folder with `rows(options)`, or a function of it, in a process of its
own, one after the other, on the cores of this one (`taskset`). What fails is a row that says why;
the others go on. OUT/bench.md and OUT/bench.json are whole after every name.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from echosweep import runs
from echosweep.environment import environment
from pairs import Built, Options, Row, Side, last_line

NAMES = (
    *("forward", "train", "sampling", "loading", "prepare", "features"),
    *("gpu.sampling", "gpu.sampling_compiled", "gpu.training", "gpu.training_compiled"),
    *("gpu.guiding", "gpu.features"),
)
HEAD = ("what", "ours", "peer", "ratio: median (min to max)", "of the ceiling", "bar", "met?")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(NAMES)}; default: all")
    parser.add_argument("--out", type=Path, default=Path("bench"))
    parser.add_argument("--peers", type=Path, default=Path(".peers"))
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="two pairs, less work in each")
    parser.add_argument("--limit", type=float, help="seconds that a name may take; default: no end")
    given = parser.parse_args()
    if wrong := set(given.names) - set(NAMES):
        parser.error(f"unknown {', '.join(sorted(wrong))}; choose from {', '.join(NAMES)}")
    if min(given.pairs, given.threads) < 1:
        parser.error(f"--pairs {given.pairs} and --threads {given.threads} must be 1 or more")
    options = Options(
        2 if given.quick else given.pairs,
        given.threads,
        given.quick,
        given.peers.resolve(),
        limit=given.limit,
    )
    runs.check_writable(given.out / "bench.md")
    found: list[Row] = []
    for name in given.names or NAMES:
        print(f"{name} ...", file=sys.stderr, flush=True)
        found += measured(name, options)
        write(given.out, found, options)
    print((given.out / "bench.md").read_text())


def measured(name: str, options: Options) -> list[Row]:
    """Return the rows of a module, or one that says why there are none."""
    try:
        with Side(options, module, name, options) as side:
            found: list[Row] = side()
            return found
    except RuntimeError as error:
        print(error, file=sys.stderr, flush=True)
        return [Row(name, "", "", [], note=f"not measured: {last_line(error)}")]


def module(name: str, options: Options) -> Built:
    """Return the work of a module, or of a function in it (`gpu.sampling`): its rows."""
    if name.startswith("gpu."):
        options = options._replace(device="cuda")
        if not torch.cuda.is_available():
            return (lambda: [Row(name, "", "", [], note="not measured: no GPU")]), None
    file, _, function = name.partition(".")
    rows = getattr(import_module(file), function or "rows")
    return (lambda: rows(options)), None


def write(out: Path, rows: Sequence[Row], options: Options) -> None:
    """Write the rows with machine, commit, time and versions, as JSON and as Markdown."""
    settings = {"pairs": options.pairs, "threads": options.threads, "quick": options.quick}
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    facts = environment() | settings | {"load": os.getloadavg()[0], "gpu": gpu}
    found = [row._asdict() | {"met": row.met} for row in rows]
    runs.write_json(out / "bench.json", {"environment": facts, "rows": found})
    runs.write_text(out / "bench.md", f"{where(facts)}\n\n{table(rows)}\n")


def where(environment: Mapping[str, Any]) -> str:
    """Say on what machine, from what commit, when and how."""
    versions = ", ".join(f"{name} {v}" for name, v in environment["packages"].items() if v)
    return (
        f"{environment['cpu']}, {environment['threads']} threads of {environment['cores']} cores "
        f"(load {environment['load']:.1f}), {environment['gpu']}, Python {environment['python']}, "
        f"{versions}; commit {environment['commit']}, {environment['time']}; "
        f"{environment['pairs']} pairs"
        f"{', --quick' if environment['quick'] else ''}. What has a process of its own is timed, "
        "with one thread on a CPU, by the seconds that it had its core; all else by the clock."
    )


def table(rows: Sequence[Row]) -> str:
    """Return rows as a Markdown table, their notes below it by number."""
    lines = ["| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|"]
    notes = list(dict.fromkeys(row.note for row in rows if row.note))
    for row in rows:
        mark = f" [{notes.index(row.note) + 1}]" if row.note else ""
        share = "" if row.share is None else f"{row.share:.0%}"
        met = {True: "yes", False: "no", None: ""}[row.met]
        cells = (row.what + mark, row.ours, row.peer, ratio(row), share, bar(row), met)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *(f"[{i}] {note}" for i, note in enumerate(notes, 1))])


def ratio(row: Row) -> str:
    """Return the ratios of the pairs: median (min to max)."""
    if not row.ratios:
        return ""
    digits = 2 if row.better == "higher" else 3
    numbers = (statistics.median(row.ratios), min(row.ratios), max(row.ratios))
    return "{} ({} to {})".format(*(f"{number:.{digits}f}" for number in numbers))


def bar(row: Row) -> str:
    """Say what the row should reach."""
    sign = "at least" if row.better == "higher" else "at most"
    bars = [f"{sign} {row.bar:g}"] if row.bar is not None else []
    return ", ".join(bars + ([f"{row.share_bar:.0%}"] if row.share_bar is not None else []))


if __name__ == "__main__":
    main()
