"""Where a study is: read from its folder alone, while others write to it.

A trial that holds its lock is running, one with a result is done, whatever wrote it; so this needs
no word with the runner, and none of its memory. What a trial does now it says itself, in
progress.json. Invariant: to look changes nothing, and to stop only asks.
"""

import contextlib
import json
import os
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from echosweep import runs
from echosweep.errors import EchoSweepError
from echosweep.progress import Progress, Show, hidden, leads, silent
from echosweep.reporting.study_checks import read_facts, read_recipe, read_stages
from echosweep.study import trial

STATES = ("complete", "running", "failed", "waiting")
_SECONDS_BETWEEN_NEWS, _SECONDS_BETWEEN_LOOKS = 2.0, 0.2
_RECENT = 20  # trials by which time is told


def reporter(folder: Path) -> Show:
    """Return a `Show` that keeps `folder`/progress.json: what a trial does now, and how far it is.

    Written at the beginning of a stage and at most every 2 s within it. It is news, no result: not
    synced, and a full disk stops no trial.
    """
    since = time.time()

    @contextlib.contextmanager
    def show(title: str, unit: str) -> Iterator[Progress]:
        about = {"title": title, "unit": unit, "since": since}
        yield _News(folder / "progress.json", about) if leads() else silent

    return show


class _News:
    """A `Progress` that writes progress.json."""

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self._path, self._about = path, about
        self._first: tuple[int, float, float] | None = None  # steps, units, when
        self._write({"done": 0, "total": None, "rate": None, "seconds_left": None})

    def __call__(self, done: int, total: int, units: float | None = None) -> None:
        amount, now = float(done if units is None else units), time.monotonic()
        steps, before, then = self._first = self._first or (done, amount, now)
        if done < total and now - self._written < _SECONDS_BETWEEN_NEWS:
            return
        # Since the first call, so that resumed work is not counted as speed.
        known = now > then and done > steps
        rate = (amount - before) / (now - then) if known else None
        left = (now - then) / (done - steps) * (total - done) if known else None
        self._write({"done": done, "total": total, "rate": rate, "seconds_left": left})

    def _write(self, news: dict[str, Any]) -> None:
        self._written = time.monotonic()
        who = {"time": time.time(), "host": socket.gethostname(), "pid": os.getpid()}
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps(self._about | news | who))
            temporary.replace(self._path)


def stop_asked(study: Path, since: float) -> bool:
    """Say whether `stop` was called after the time `since`, in seconds as time.time() has them."""
    with contextlib.suppress(FileNotFoundError):
        asked = runs.read_record(study / "stop", "remove it")
        return float(asked["time"]) > since
    return False


def stop(study: str | Path, *, timeout: float = 300.0, show: Show = hidden) -> dict[str, Any]:
    """Ask the runners of a study to stop; return its status when no trial is running.

    What runs saves first. Raises EchoSweepError if something still runs after `timeout` seconds.
    """
    study = check(study)
    runs.write_json(study / "stop", {"time": time.time(), "host": socket.gethostname()})
    until, most = time.monotonic() + timeout, 0
    with show("stop", "trials") as progress:
        while running := (found := status(study))["running"]:
            most = max(most, len(running))
            progress(most - len(running), most)
            if time.monotonic() > until:
                names = ", ".join(f"{row['label']} ({row['host']})" for row in running[:3])
                raise EchoSweepError(
                    f"still running after {timeout:g} s: {len(running)}, first {names}; ask again, "
                    "or end their processes: what they saved is kept"
                )
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    return found


def check(study: str | Path) -> Path:
    """Return the folder of a study; raise UsageError where there is none.

    Raises EchoSweepError for one that is damaged.
    """
    path = Path(study)
    read_facts(path)
    return path


class StageStatus(NamedTuple):
    """A stage as the recipe has it, its record, and its trials with the state they have now."""

    name: str
    kind: str
    record: dict[str, Any]
    trials: list[dict[str, Any]]

    def among(self, state: str) -> list[dict[str, Any]]:
        """Return the trials of that state."""
        return [row for row in self.trials if row["state"] == state]


def status(study: str | Path) -> dict[str, Any]:
    """Return where a study is, as JSON.

    state: "running", "done", "failed" or "idle" (no trial runs, and not all is done). stages: name,
    stage, state, the number of trials in each of STATES, best (lowest) score and whose, metric.
    running: what each running trial does now, with the seconds since it said so. failed: errors.
    seconds_left: an estimate for the stage that runs, or None.

    Raises UsageError where no study is.
    """
    study = check(study)
    stages = list(_stages(study))
    running = [_doing(study, stage, row) for stage in stages for row in stage.among("running")]
    return {
        "study": str(study),
        "state": _overall([stage.record["state"] for stage in stages], bool(running)),
        "stages": [_summary(stage) for stage in stages],
        "running": running,
        "failed": [
            _named(stage, row) | {"error": _error(study, row)}
            for stage in stages
            for row in stage.among("failed")
        ],
        "seconds_left": _left(study, stages, len(running)),
    }


def _stages(study: Path) -> Iterator[StageStatus]:
    """Yield every stage of the recipe; one that has not begun has no trials."""
    records = {record["name"]: record for record in read_stages(study)}
    for entry in read_recipe(study)["stages"]:
        name, kind = entry["name"], entry.get("stage", "search")
        record = records.get(name, {"state": "waiting"})
        trials = [{**row, "state": _state(study, row)} for row in record.get("trials", [])]
        yield StageStatus(name, kind, record, trials)


def _state(study: Path, row: dict[str, Any]) -> str:
    """Return the state of a trial now: a record that says it has ended is believed."""
    if row["state"] in ("complete", "failed"):
        return str(row["state"])
    folder = trial.folder(study, row["signature"])
    if (folder / "result.json").exists():
        return "complete"
    if (folder / "error.json").exists():
        return "failed"
    return "running" if trial.is_claimed(folder) else "waiting"


def _overall(states: list[str], running: bool) -> str:
    if running:
        return "running"
    if all(state == "done" for state in states):
        return "done"
    return "failed" if "failed" in states else "idle"


def _summary(stage: StageStatus) -> dict[str, Any]:
    counts = Counter(row["state"] for row in stage.trials)
    best = _best(stage.trials)
    return {
        "name": stage.name,
        "stage": stage.kind,
        "state": stage.record["state"],
        **{state: counts[state] for state in STATES},
        "best": best and best["score"],
        "best_label": best and best.get("label"),
        "best_budget": best and _budget(best),
        "metric": _metric(stage.record),
    }


def _best(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the trial with the lowest score among those of the largest budget so far."""
    scored = [row for row in rows if row.get("score") is not None]
    return min(scored, key=lambda row: (-_budget(row), row["score"]), default=None)


def _metric(record: dict[str, Any]) -> str | None:
    """Return the exact name of the score: what the features are, not FID where they are not."""
    score, exact = record.get("score"), record.get("metric")
    return exact + score[2:] if score and exact and score.startswith("fd") else score


def _left(study: Path, stages: list[StageStatus], workers: int) -> float | None:
    """Return the seconds left of the stage that runs, if trials take as long as the last ones did.

    A trial counts as the share of the training budget that it has, one that runs as half of that.
    """
    stage = next((stage for stage in stages if stage.record["state"] == "running"), None)
    if stage is None or not workers:
        return None
    ended = stage.among("complete")[-_RECENT:]
    took = [(_seconds(study, row), _budget(row)) for row in ended]
    known = [(seconds, budget) for seconds, budget in took if seconds is not None]
    work = sum(budget for _, budget in known)
    left = sum(map(_budget, stage.among("waiting"))) + sum(map(_budget, stage.among("running"))) / 2
    return sum(seconds for seconds, _ in known) / work * left / workers if work else None


def _seconds(study: Path, row: dict[str, Any]) -> float | None:
    """Return how long a trial took, since it was last started; None where it did not say."""
    folder = trial.folder(study, row["signature"])
    with contextlib.suppress(FileNotFoundError, EchoSweepError):
        since = float(runs.read_record(folder / "progress.json", "")["since"])
        return max(0.0, (folder / "result.json").stat().st_mtime - since)
    return None


def _budget(row: dict[str, Any]) -> float:
    return float(row.get("budget", 1))


def _named(stage: StageStatus, row: dict[str, Any]) -> dict[str, Any]:
    return {
        "signature": row["signature"],
        "label": row.get("label") or stage.name,
        "stage": stage.name,
    }


def _doing(study: Path, stage: StageStatus, row: dict[str, Any]) -> dict[str, Any]:
    """Return what a running trial last said, and how many seconds ago."""
    news = dict.fromkeys(("title", "unit", "done", "total", "rate", "seconds_left", "host", "pid"))
    path, ago = trial.folder(study, row["signature"]) / "progress.json", None
    with contextlib.suppress(FileNotFoundError, EchoSweepError):
        found = runs.read_record(path, "")
        ago = max(0.0, time.time() - found.pop("time"))
        news.update(found)
    return _named(stage, row) | news | {"seconds_ago": ago}


def _error(study: Path, row: dict[str, Any]) -> str:
    """Return why a trial failed, in one line."""
    error = row.get("error")
    if error is None:
        found = trial.result(study, row["signature"]) or {}
        error = found.get("error", "unknown")
    return " ".join(str(error).split())
