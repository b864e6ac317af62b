"""Start each command twice at once on one output.

Invariant: one does the work; the other says that the folder is in use, or finds the work done; what
is there in the end is what one alone makes. Locks of dead processes: see `kills`.
"""

from . import child, kills, world
from .row import Bench, Found

_QUICK = ("phantom", "ema")


def two_at_once(bench: Bench) -> Found:
    """Run each command twice at the same time."""
    faults, pairs = [], 0
    for name in _QUICK if bench.quick else world.COMMANDS:
        line, case, log = world.COMMANDS[name], bench.folder / "case", bench.folder / "changes"
        wanted = kills.undisturbed(line, bench.inputs, case, log)
        alone = len(log.read_text().splitlines())
        for number in range(bench.times(1, 5)):
            found = _pair(bench, line, wanted, alone)
            faults += [f"{name} {number}: {what}" for what in found]
            pairs += 1
    return Found(f"{pairs} pairs of {len(world.COMMANDS)} commands", faults)


def _pair(bench: Bench, line: str, wanted: dict[str, str], alone: int) -> list[str]:
    case = bench.fresh()
    logs = [bench.folder / f"changes-{number}" for number in range(2)]
    running = [
        child.start(bench.words(line, case), kills.Killer(case, None, log).install) for log in logs
    ]
    ended = [each.wait() for each in running]
    faults = [f"exit {e.code}: {e.last}" for e in ended if e.code and not e.refused]
    if all(e.code for e in ended):
        faults.append(f"neither did the work: {ended[0].last}; {ended[1].last}")
    if faults:
        return faults
    counts = [len(log.read_text().splitlines()) for log in logs]
    if not any(e.code for e in ended) and min(counts) > 0.8 * alone:
        faults.append(f"both did the work: {counts} changes, {alone} alone")
    # What it printed is that of one of them; the other's is what was refused.
    only_files = {key: value for key, value in wanted.items() if not key.startswith("(stdout)")}
    return faults + list(kills.different(only_files, kills.leaves(case)))
