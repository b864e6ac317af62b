"""Abuse EchoSweep in every way that docs/reliability.md promises to bear, and print a table.

    python -m tests.abuse [table.md] [--rows kill,fuzz] [--quick] [--seconds 600] [--work FOLDER]

Each row's result is kept in FOLDER, so the same command continues what was interrupted, of the same
commit; --again does all anew. Exit code 1: something did not hold; what, is in FOLDER/ROW.json.
"""

import argparse
import json
import shutil
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from echosweep import runs
from echosweep.environment import environment

from . import child, world
from .row import Bench, Found, Row
from .rows import ROWS


def main() -> int:
    """Do the rows that have no result yet; print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path, nargs="?", default=Path("abuse/table.md"))
    parser.add_argument("--rows", default=",".join(ROWS), help="some of: %(default)s")
    parser.add_argument("--quick", action="store_true", help="seconds a row, as in the tests")
    parser.add_argument("--seconds", type=float, default=600, help="of a row that could go on")
    parser.add_argument("--work", type=Path, default=Path("abuse/work"))
    parser.add_argument("--again", action="store_true", help="forget the results of before")
    options = parser.parse_args()
    names = options.rows.split(",")
    if unknown := set(names) - set(ROWS):
        parser.error(f"no such row: {', '.join(unknown)}; there are {', '.join(ROWS)}")
    options.commit = environment()["commit"]
    work = options.work.resolve()
    if options.again:
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    lines = ["| abuse | done | result | seconds |", "|---|---|---|---|"]
    print(*lines, sep="\n", flush=True)
    results = []
    for name in names:
        results.append(_result(name, work, options))
        lines.append(_line(name, results[-1]))
        print(lines[-1], flush=True)
    options.table.parent.mkdir(parents=True, exist_ok=True)
    options.table.write_text("\n".join(lines) + "\n")
    return int(any(result["faults"] for result in results))


def _result(name: str, work: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return a row's result: the one kept, or that of doing it now."""
    form = {"quick": options.quick, "seconds": options.seconds, "commit": options.commit}
    path = work / f"{name}.json"
    if path.exists() and form.items() <= (kept := json.loads(path.read_bytes())).items():
        return kept
    if "torch" not in sys.modules:
        child.preload()
    bench = Bench(world.make(work / "inputs"), work / name, options.quick, options.seconds)
    bench.folder.mkdir(exist_ok=True)
    begun = time.monotonic()
    found = _tried(ROWS[name][1], bench)
    result = {**found._asdict(), **form, "took": round(time.monotonic() - begun, 1)}
    if found.done:  # else the row itself did not end, and is tried again
        runs.write_json(path, result)
    shutil.rmtree(work / name, ignore_errors=True)
    return result


def _tried(row: Row, bench: Bench) -> Found:
    try:
        return row(bench)
    except Exception:
        return Found("", [traceback.format_exc()])


def _line(name: str, result: dict[str, Any]) -> str:
    faults = result["faults"]
    said = (
        f"**{len(faults)} failed**: {faults[0].strip().splitlines()[-1][:120]}"
        if faults
        else "held"
    )
    cells = (f"`{name}`: {ROWS[name][0]}", result["done"], said, f"{result['took']:g}")
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


if __name__ == "__main__":
    sys.exit(main())
