"""Parts of a candidate: made once, by one process or by several."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from echosweep.commands.sample import sample
from echosweep.config import FeatureOptions
from echosweep.data.store import FrameStore
from echosweep.distributed import MEETING
from echosweep.progress import hidden
from echosweep.study.artifacts import Artifacts
from echosweep.study.candidate import Candidate
from echosweep.study.trial import Trial


@contextlib.contextmanager
def _listening() -> Iterator[set[str]]:
    """Collect where the processes that meet listen, as /proc/net/tcp has it."""
    found, over = set[str](), threading.Event()

    def look() -> None:
        while not over.wait(0.5):
            sockets = set(_sockets())
            for table in ("tcp", "tcp6"):
                rows = map(str.split, Path("/proc/net", table).read_text().splitlines())
                found.update(
                    row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets
                )

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield found
    finally:
        over.set()
        watcher.join()


def _sockets() -> Iterator[str]:
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{MEETING}=".encode() in (process / "environ").read_bytes():
                yield from (str(link.readlink()) for link in (process / "fd").iterdir())


def test_several_processes_train_and_draw_what_one_draws(
    small_study: tuple[Path, list[Trial]], small_store: Path, tmp_path: Path
) -> None:
    study, trials = small_study
    candidate = Candidate.make(trials[0].params["candidate"])
    artifacts = Artifacts(study, small_store, FeatureOptions(), 2, hidden)
    with _listening() as heard:
        together = FrameStore.open(artifacts.images(candidate, 10, 3))
    assert heard
    assert all(address.startswith("0100007F:") for address in heard)  # loopback
    model = artifacts.weights(candidate).with_suffix(".safetensors")
    alone = sample(model, tmp_path / "alone", num=10, seed=3, config=candidate.sample)
    assert alone is not None
    np.testing.assert_array_equal(together.images, alone.images)
    assert together.content == alone.content


def test_a_smaller_budget_asked_for_later_is_trained_aside(
    small_study: tuple[Path, list[Trial]], small_store: Path
) -> None:
    study, trials = small_study
    artifacts = Artifacts(study, small_store, FeatureOptions(), 1, hidden)
    whole = Candidate.make(trials[0].params["candidate"])
    half = whole.changed({"train.total_kimg": 0.08})
    kept = artifacts.weights(whole).with_suffix(".safetensors").read_bytes()
    later = artifacts.weights(half).with_suffix(".safetensors").read_bytes()
    assert artifacts.weights(whole).with_suffix(".safetensors").read_bytes() == kept != later
    assert len(list((study / "runs").iterdir())) == 2
    averaged = artifacts.weights(half.changed({"ema": 0.1}))
    assert averaged.with_suffix(".safetensors").exists()
    assert len(list((study / "runs").iterdir())) == 2
