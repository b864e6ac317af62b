"""A study's status as a person reads it: a table of stages, a line for all that runs or failed.

Invariant: it prints what `status` returns and nothing else, so --json says the same.
"""

import contextlib
import time
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from echosweep.runs import command_line
from echosweep.streams import console, table
from echosweep.study.status import STATES, status
from echosweep.text import printable

_SECONDS_BETWEEN_LOOKS, _SECONDS_WITHOUT_NEWS = 2.0, 60.0
_LINES = 10  # of what runs, and of what failed


def show(study: str | Path, live: bool = False) -> None:
    """Print where a study is; on a terminal and `live`, again every 2 s until it ends or Ctrl-C."""
    out = console()
    if not (live and out.is_terminal):
        out.print(_page(status(study)))
        return
    with Live(console=out, auto_refresh=False) as page, contextlib.suppress(KeyboardInterrupt):
        while True:
            page.update(_page(found := status(study)), refresh=True)
            if found["state"] in ("done", "failed"):
                return
            time.sleep(_SECONDS_BETWEEN_LOOKS)


def _page(found: dict[str, Any]) -> Group:
    """Return what is printed: stages, what runs, what failed, the time left."""
    lines = [f"{_what(row)}: {row['error']}" for row in found["failed"]]
    if len(lines) > _LINES:
        lines[_LINES:] = [f"and {len(lines) - _LINES} more; --json names them all"]
    parts: list[Table | Text] = [_stage_table(found["stages"])]
    if found["running"]:
        parts.append(_running_table(found["running"]))
    parts += [Text(printable(f"failed  {line}"), style="red") for line in lines]
    return Group(*parts, Text(printable(_verdict(found))))


def _stage_table(stages: list[dict[str, Any]]) -> Table:
    rows = _table("stage", "", "done", "running", "failed", "waiting", "best so far")
    for stage in stages:
        counts = [str(stage[state] or "") for state in STATES]
        rows.add_row(stage["name"], stage["state"], *counts, _best_so_far(stage))
    return rows


def _best_so_far(stage: dict[str, Any]) -> str:
    if stage["best"] is None:
        return ""
    share = stage["best_budget"]
    after = f" after {share:.0%} of the training" if share < 1 else ""
    return f"{stage['metric']} {stage['best']:.4g}: {stage['best_label']}{after}"


def _running_table(running: list[dict[str, Any]]) -> Table:
    rows = _table("running", "what", "", "rate", "left", "where")
    for row in running[:_LINES]:
        where = f"{row['host']} ({row['pid']})" if row["host"] else ""
        rows.add_row(_what(row), *_news(row), where)
    if len(running) > _LINES:
        rows.add_row(f"and {len(running) - _LINES} more")
    return rows


def _news(row: dict[str, Any]) -> tuple[str, str, str, str]:
    """Return title, steps, rate and time left of a running trial, as far as they are known."""
    if row["seconds_ago"] is None:
        return "starts", "", "", ""
    if row["seconds_ago"] > _SECONDS_WITHOUT_NEWS:
        return row["title"], "", "", f"no news for {duration(row['seconds_ago'])}"
    steps = f"{row['done']}/{row['total']}" if row["total"] else ""
    rate = f"{row['rate']:,.1f} {row['unit']}/s" if row["rate"] else ""
    left = "" if row["seconds_left"] is None else duration(row["seconds_left"])
    return row["title"], steps, rate, left


def _table(*columns: str) -> Table:
    made = table(*columns)
    made.header_style = "bold"
    return made


def duration(seconds: float) -> str:
    """Return a time in words: 40 s, 12 min, 3.5 h, 2.1 days."""
    for unit, size, most in (("s", 1, 90), ("min", 60, 90), ("h", 3600, 48)):
        if seconds < most * size:
            return f"{seconds / size:.{0 if unit != 'h' else 1}f} {unit}"
    return f"{seconds / 86400:.1f} days"


def _what(row: dict[str, Any]) -> str:
    return f"{row['stage']}: {row['label']} ({row['signature'][:6]})"


def _verdict(found: dict[str, Any]) -> str:
    """Return the last line: how long it still takes, or what to do."""
    follow = [stage["name"] for stage in found["stages"] if stage["state"] == "waiting"]
    after = f"; {', '.join(follow)} follow" if follow else ""
    if found["state"] == "running" and found["seconds_left"] is not None:
        left = duration(found["seconds_left"])
        return f"about {left} left of this stage, if it goes on as fast as so far{after}"
    return {
        "running": f"running; how long cannot be told before a trial has ended{after}",
        "done": f"done. Next: {command_line('report', found['study'])}",
        "failed": "a stage failed; mend what its errors say and run the same command again with "
        "--retry-failed",
        "idle": f"no trial runs. echosweep study run goes on{after}",
    }[found["state"]]
