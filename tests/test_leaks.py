"""Images that train, choose and report are kept apart, whatever their store calls them."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echosweep.build import model_path
from echosweep.commands.copies import copies
from echosweep.commands.discriminate import discriminate
from echosweep.commands.evaluate import evaluate
from echosweep.commands.floor import floor
from echosweep.commands.sample import sample
from echosweep.commands.shift import shift
from echosweep.commands.utility import utility
from echosweep.data.provenance import Knowledge
from echosweep.data.store import FrameStore
from echosweep.data.writer import write_store
from echosweep.errors import UsageError
from echosweep.training import checkpoint

RANDOM: dict[str, Any] = {"features": "random"}


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECHOSWEEP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def made(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of the small run. Read only."""
    path = tmp_path_factory.mktemp("made") / "made"
    sample(small_run, path, num=24, steps=2)
    return path


@pytest.fixture(scope="module")
def again(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The videos of the small store prepared again: other pixels, the first six now in test."""
    store = FrameStore.open(small_store)
    videos = [
        (
            replace(video, name=f"new-{i}", split="test" if i < 6 else "train"),
            255 - store.images[store.index["video"] == i],
        )
        for i, video in enumerate(store.videos)
    ]
    path = tmp_path_factory.mktemp("again") / "again"
    write_store(path, store.preparation, videos, source={"kind": "folder"})
    return path


Call = Callable[[Path, Path, Path, Path], Any]  # of (real, made, run, out)
SWAPPED: dict[str, Call] = {
    "evaluate": lambda real, made, run, out: evaluate(real, made, out=out, **RANDOM),
    "copies": lambda real, made, run, out: copies(real, made, out=out, **RANDOM),
    "copies, holdout": lambda real, made, run, out: copies(
        made, real, train_split="train", holdout=made, out=out, **RANDOM
    ),
    "shift": lambda real, made, run, out: shift(real, made, out=out),
    "shift, after": lambda real, made, run, out: shift(real, made, after=made, out=out),
    "utility": lambda real, made, run, out: utility(real, made, label="side", out=out),
    "floor": lambda real, made, run, out: floor(made, **RANDOM),
    "discriminate": lambda real, made, run, out: discriminate(made, real, run, out),
}


@pytest.mark.parametrize("command", SWAPPED)
def test_swapped_stores_are_refused_before_any_work(
    command: str,
    small_store: Path,
    made: Path,
    small_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ECHOSWEEP_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UsageError, match=r"echosweep sample"):
        SWAPPED[command](small_store, made, small_run, tmp_path / "out")
    assert not list(tmp_path.glob("cache/features-*"))
    assert not (tmp_path / "out").exists()


def test_real_against_real_is_measured_and_said(small_store: Path, again: Path) -> None:
    record = evaluate(again, small_store, **RANDOM)
    assert record is not None
    assert any("real against real" in text for text in record["warnings"])
    assert record["seen"] == {"videos": 20, "trained": 0, "chose": 0, "by_name": 0}


def test_a_model_keeps_the_videos_that_it_was_trained_on(small_run: Path, made: Path) -> None:
    snapshots = sorted((small_run / "snapshots").glob("*.json"))
    for path in (small_run / "model", *(each.with_suffix("") for each in snapshots)):
        knows = Knowledge.of_model(checkpoint.read_facts(path))
        assert (knows.trained.tolist(), knows.complete) == ([*range(1, 15)], True)
    assert Knowledge.of_store(FrameStore.open(made)).trained.tolist() == [*range(1, 15)]


def test_videos_that_moved_to_test_do_not_pass_as_new(
    small_store: Path, made: Path, again: Path
) -> None:
    for data, split, seen in (
        (small_store, "train", (14, 14)),
        (small_store, "test", (3, 0)),
        (again, "test", (6, 6)),
        (again, "train", (14, 8)),
    ):
        record = evaluate(made, data, split=split, **RANDOM)
        assert record is not None
        assert (record["seen"]["videos"], record["seen"]["trained"]) == seen
        assert any("were trained on" in text for text in record["warnings"]) is (seen[1] > 0)


def test_held_out_videos_that_trained_and_others_that_are_not_searched_are_said(
    small_store: Path, made: Path, again: Path, tmp_path: Path
) -> None:
    clean = copies(made, small_store, rate=0.2, out=tmp_path / "clean", **RANDOM)
    moved = copies(made, again, rate=0.2, out=tmp_path / "moved", **RANDOM)
    assert clean is not None
    assert moved is not None
    assert (clean["seen"]["trained"], moved["seen"]["trained"]) == (0, 6)
    said = [
        [text in " ".join(record["notes"]) for record in (clean, moved)]
        for text in ("6 of 6 held-out videos", "6 of the 14 videos")
    ]
    assert said == [[False, True], [False, True]]


def test_guided_images_know_what_the_discriminator_saw(
    small_store: Path, small_run: Path, made: Path, tmp_path: Path
) -> None:
    out = tmp_path / "disc"
    discriminate(small_store, made, small_run, out, epochs=1, batch=8, held_out=8)
    knows = Knowledge.of_model(checkpoint.read_facts(model_path(out)))
    assert knows.trained.tolist() == [*range(1, 15)]
    assert set(knows.chose.tolist()) <= {15, 16, 17}
    guided = sample(small_run, tmp_path / "guided", num=8, steps=2, guidance=out, w1=1.0)
    assert guided is not None
    assert np.array_equal(Knowledge.of_store(guided).chose, knows.chose)
    record = evaluate(guided.path, small_store, split="val", **RANDOM)
    assert record is not None
    assert record["seen"]["chose"] == len(knows.chose) > 0
    assert any("chose among versions" in text for text in record["warnings"])
