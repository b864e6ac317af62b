"""The runner: a fold over stages that has trials done by a backend, and keeps what came out.

It holds nothing that is not in the study's folder, so it may be killed at any time, started again,
or run twice at once. Invariant: a trial whose result is there is never started, and one that died
is started again.
"""

import contextlib
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from echosweep import runs, stops
from echosweep.config import Config
from echosweep.errors import EchoSweepError
from echosweep.progress import Progress, Show, hidden
from echosweep.study import STAGES
from echosweep.study.backends import BUSY, FULL, STOPPED, Backend
from echosweep.study.candidate import Candidate
from echosweep.study.ledger import Ledger
from echosweep.study.recipe import Recipe, StageEntry
from echosweep.study.search import SearchRow
from echosweep.study.stages import SearchOptions, StageContext
from echosweep.study.status import stop_asked
from echosweep.study.trial import Trial, folder, is_claimed, put, result

_DEATHS = 8  # of one trial's workers, to this runner: then it is the trial's fault
_SECONDS_BETWEEN_LOOKS = 0.5
_FIX = "remove it to write it anew"

Say = Callable[[str], None]


class Runner:
    """Runs a study; `say` hears of every trial that ends."""

    def __init__(
        self,
        study: Path,
        recipe: Recipe,
        options: Mapping[str, Config],
        backend: Backend,
        ledger: Ledger | None,
        show: Show = hidden,
        say: Say = print,
    ) -> None:
        self.study, self.recipe, self.options = study, recipe, options
        self.backend, self.ledger, self.show, self.say = backend, ledger, show, say
        self.failed: list[str] = []  # stages that others could do without

    def run(self) -> list[Candidate]:
        """Go through the stages; return the candidates that the last one left."""
        candidates, stages = [self.recipe.base], self.study / "stages"
        records = [stages / f"{i:02d}-{one.name}.json" for i, one in enumerate(self.recipe.stages)]
        for path in {*stages.glob("[0-9][0-9]-*.json")} - {*records}:
            path.unlink()  # of a stage that the recipe had before
        with stopped_by(self.study):
            for path, entry in zip(records, self.recipe.stages, strict=True):
                candidates = self._stage(path, entry, candidates)
        return candidates

    def _stage(self, path: Path, entry: StageEntry, candidates: list[Candidate]) -> list[Candidate]:
        head = {"name": entry.name, "stage": entry.stage}
        options, started = self.options[entry.name], time.time()
        before = _read(path)

        def note(record: Mapping[str, Any]) -> None:
            runs.write_record(path, {**head, "state": "running", **record})

        with self.show(entry.name, "trials") as progress:
            context = StageContext(
                self.recipe,
                lambda trials, changed: self._do(trials, changed, progress),
                lambda signature: result(self.study, signature),
                note,
            )
            try:
                outcome = STAGES[entry.stage].run(options, candidates, context)
            except EchoSweepError as error:
                note({**_read(path), "state": "failed", "error": str(error)})
                raise type(error)(f"stage {entry.name!r}: {error}") from error
        record = {**head, "state": "done", **outcome.record}
        if record != {key: value for key, value in before.items() if key != "seconds"}:
            runs.write_record(path, {**record, "seconds": time.time() - started})
        if record["state"] == "failed":
            self.failed.append(entry.name)
        if isinstance(options, SearchOptions):
            self._enter(entry.name, options, record["trials"])
        return outcome.candidates

    def _enter(self, stage: str, options: SearchOptions, rows: Sequence[SearchRow]) -> None:
        """Copy a search into the ledger; a database that is away stops no study."""
        proposed = [row for row in rows if row["changes"].keys() >= options.space.keys()]
        try:
            if self.ledger:
                self.ledger.write(stage, options.space, proposed)
        except EchoSweepError as error:
            self.say(f"stage {stage!r} is not in the ledger yet: {error}")

    def _do(
        self, trials: Sequence[Trial], changed: Callable[[], None], progress: Progress
    ) -> list[dict[str, Any]]:
        """Return the trials' results, in their order, once all are there."""
        for trial in trials:
            put(self.study, trial)
        deaths: Counter[str] = Counter()
        while waiting := self._unfinished(trials):
            changed()
            progress(len(trials) - len(waiting), len(trials))
            with contextlib.closing(self.backend.run(waiting, self.study)) as ended:
                for trial, code in ended:
                    self._heard(trial, code, deaths)
                    changed()
                    progress(len(trials) - len(self._unfinished(trials)), len(trials))
            if all(is_claimed(folder(self.study, trial.signature)) for trial in waiting):
                time.sleep(_SECONDS_BETWEEN_LOOKS)  # another runner has them
        return [result(self.study, trial) or {} for trial in trials]

    def _unfinished(self, trials: Sequence[Trial]) -> list[Trial]:
        return [trial for trial in trials if result(self.study, trial) is None]

    def _heard(self, trial: Trial, code: int, deaths: Counter[str]) -> None:
        """Take note of how a worker ended; raise what ends the study."""
        if code == FULL:
            raise EchoSweepError(
                f"no space left on the disk of {self.study}; free some and run the same command "
                "again, it will continue"
            )
        found = result(self.study, trial)
        if found:
            self.say(_news(trial, found, self.recipe.select.score))
        elif code not in (BUSY, STOPPED):
            deaths[trial.signature] += 1
            log = folder(self.study, trial.signature) / "log.txt"
            if deaths[trial.signature] >= _DEATHS:
                error = f"its process died {_DEATHS} times (last: {_death(code)}); see {log}"
                runs.write_record(log.with_name("error.json"), {"error": error})
            else:
                self.say(f"{_name(trial)}: its process died ({_death(code)}); it is started again")


def _read(path: Path) -> dict[str, Any]:
    with contextlib.suppress(FileNotFoundError):
        return runs.read_record(path, _FIX)
    return {}


def _death(code: int) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"exit code {code}"


def _name(trial: Trial) -> str:
    candidate = trial.params.get("candidate")
    if not candidate:
        return trial.task
    train, sample = candidate["train"], candidate["sample"]
    steps = f"{sample['sampler']} {sample['steps']}"
    return f"{trial.task} {train['network']} {train['framework']} {steps}"


def _news(trial: Trial, found: Mapping[str, Any], score: str) -> str:
    if found["state"] == "failed":
        return f"{_name(trial)}: failed: {found['error']}"
    value = found.get("values", {}).get(score)
    return _name(trial) + (f": {found['metric']} {value:.4g}" if value is not None else ": done")


@contextlib.contextmanager
def stopped_by(study: Path) -> Iterator[None]:
    """Raise KeyboardInterrupt within when a signal asks, or `echosweep study stop` does."""
    since, over = time.time(), threading.Event()

    def watch() -> None:
        while not over.wait(_SECONDS_BETWEEN_LOOKS):
            if stop_asked(study, since):
                os.kill(os.getpid(), signal.SIGINT)
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        with stops.raised():
            yield
    finally:
        over.set()
        watcher.join()
