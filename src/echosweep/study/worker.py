"""The process that does one trial: `python -m echosweep.study.worker STUDY SIGNATURE`.

It holds the trial's lock as long as it lives and writes what came out, so whoever started it reads
the folder, not its words. Invariant: it does not outlive its starter; asked to stop, it saves.
"""

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from echosweep import runs, stops, streams
from echosweep.config import FeatureOptions
from echosweep.environment import environment
from echosweep.errors import EchoSweepError
from echosweep.reporting.study_checks import read_facts
from echosweep.study.backends import BUSY, DONE, FAILED, FULL, STOPPED
from echosweep.study.status import reporter
from echosweep.study.trial import claimed, folder, get, result

_PATIENCE = 5.0  # seconds: who held it may be saving, its starter gone


def work(study: Path, signature: str) -> int:
    """Do the trial, unless it is done or another process does it; return the exit code."""
    path = folder(study, signature)
    with claimed(path, _PATIENCE) as free:
        if not free:
            return BUSY
        runs.remove_temporaries(path)
        if found := result(study, signature):
            return DONE if found["state"] == "complete" else FAILED
        try:
            runs.write_record(path / "result.json", _do(study, signature))
        except KeyboardInterrupt:
            return STOPPED
        except OSError as error:
            if error.errno in runs.NO_SPACE:
                return FULL
            return _fail(path, error)
        except Exception as error:
            return _fail(path, error)
    return DONE


def _do(study: Path, signature: str) -> dict[str, Any]:
    # Here, not above: they take seconds, and the lock is to be held before.
    from torch.cuda import device_count

    from echosweep.compute import prepare_process
    from echosweep.study.artifacts import Artifacts
    from echosweep.study.tasks import TASKS

    prepare_process()
    facts = read_facts(study)
    trial = get(study, signature)
    features = FeatureOptions.make({**facts["features"], "cache": study / "features"})
    artifacts = Artifacts(
        study,
        Path(facts["data"]["path"]),
        features,
        min(facts["gpus"], device_count()),
        reporter(folder(study, signature)),
    )
    if trial.task not in TASKS:
        raise EchoSweepError(f"trial {signature} is of no known task: {trial.task!r}")
    found = TASKS[trial.task](artifacts, **trial.params)
    return {"task": trial.task, "trial": signature, **found}


def _fail(path: Path, error: Exception) -> int:
    text = f"{type(error).__name__}: {error}" if not isinstance(error, ValueError) else str(error)
    traceback.print_exception(error)
    record = {
        "error": " ".join(text.split()),
        "traceback": "".join(traceback.format_exception(error)),
        "environment": environment(),
    }
    runs.write_record(path / "error.json", record)
    return FAILED


def _read_to_the_end() -> None:
    """Return when the starter's end of our standard input closes."""
    while os.read(0, 1024):
        pass


def work_until_asked(study: Path, signature: str, wait_for_end: Callable[[], object]) -> int:
    """Do the trial, or save and stop when a signal asks or the starter ends; return the exit code.

    wait_for_end: returns when the starter has ended.
    """

    def watch() -> None:
        wait_for_end()
        os.kill(os.getpid(), signal.SIGTERM)

    try:
        with stops.raised():
            threading.Thread(target=watch, daemon=True).start()
            return work(study, signature)
    except KeyboardInterrupt:  # before there was anything to save
        return STOPPED


def main() -> None:
    """Do the trial that the command line names."""
    streams.prepare()
    study, signature = sys.argv[1:]
    sys.exit(work_until_asked(Path(study), signature, _read_to_the_end))


if __name__ == "__main__":
    main()
