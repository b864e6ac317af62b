"""`floor`, `copies` and others as users call them, on phantoms and on stores tampered with."""

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from echosweep import copies, evaluate, floor, locks, phantom, prepare, shift, utility
from echosweep.data.store import FrameStore, Video
from echosweep.data.writer import write_store
from echosweep.errors import UsageError

QUICK = {"features": "random"}


@pytest.fixture(scope="module")
def hearts(tmp_path_factory: pytest.TempPathFactory) -> FrameStore:
    """A store of 48 phantom videos of 8 frames, 32 px."""
    folder = tmp_path_factory.mktemp("hearts")
    phantom(folder / "videos", videos=48, frames=8, size=64, workers=1)
    return prepare(folder / "videos", folder / "store", size=32, every=1, workers=1)


@pytest.fixture(scope="module", autouse=True)
def _shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One cache for this module: features of the hearts are computed once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECHOSWEEP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def planted(hearts: FrameStore, tmp_path_factory: pytest.TempPathFactory) -> FrameStore:
    """A generated set of test videos' frames and 6 noisy, shifted training frames."""
    draw = np.random.default_rng(0)
    innocent = hearts.images[hearts.rows("test")]
    stolen = hearts.images[draw.choice(hearts.rows("train"), 6, replace=False)].astype(float)
    stolen = np.roll(stolen, 1, axis=2) + draw.normal(0, 6, stolen.shape)
    images = np.concatenate([innocent, stolen.clip(0, 255).astype(np.uint8)])
    videos = [(Video(f"seed-{i}"), images[i : i + 1]) for i in range(len(images))]
    return write_store(tmp_path_factory.mktemp("planted") / "store", hearts.preparation, videos)


def test_the_floor_by_video_is_above_the_floor_by_frame(hearts: FrameStore, tmp_path: Path) -> None:
    record = floor(hearts.path, repeats=3, plot=tmp_path / "floor.png", **QUICK)
    assert record is not None
    assert json.loads(json.dumps(record)) == record
    by = record["floors"]["random-64"]["by"]
    assert by["video"]["mean"] > by["frame"]["mean"] > 0
    assert by["video"]["counts"] == by["frame"]["counts"]
    assert by["video"]["counts"][-1] == record["n"]
    assert abs(by["frame"]["infinity"]) < by["frame"]["mean"]
    with Image.open(tmp_path / "floor.png") as picture:
        assert picture.width > 500


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"by": ["patient"]}, "by.0 = 'patient': must be 'frame' or 'video'"),
        ({"num": 1}, "num = 1: must be 2 or more"),
        ({"num": 400}, r"--num 400: halves of .* have \d+ images"),
        ({"split": "tset"}, "split = 'tset': must be 'train', 'val' or 'test'"),
        ({"seed": -1}, "seed = -1: must be 0 or more"),
        ({"resize": "clean"}, "--resize belong to --features inception"),
    ],
)
def test_a_floor_that_cannot_be_is_refused(
    hearts: FrameStore, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        floor(hearts.path, **(QUICK | settings))


class _Text(HTMLParser):
    def __init__(self, page: Path) -> None:
        super().__init__()
        self.text = ""
        self.feed(page.read_text())

    def handle_data(self, data: str) -> None:
        self.text += data


def test_planted_copies_are_found_listed_and_dropped(
    hearts: FrameStore, planted: FrameStore, tmp_path: Path
) -> None:
    """Calibrated on the validation hearts: all six are found, hardly an innocent one is."""
    out, kept = tmp_path / "found", tmp_path / "kept"
    record = copies(
        planted.path, hearts.path, holdout_split="val", rate=0.03, out=out, drop=kept, **QUICK
    )
    assert record is not None
    flagged = {row["position"] for row in record["images"]}
    stolen = set(range(len(planted) - 6, len(planted)))
    assert stolen <= flagged
    assert len(flagged) <= 6 + 5  # 0.03 of 48 is 1.4
    first = record["images"][0]
    assert first["position"] in stolen
    assert first["train_name"].endswith(f"frame {hearts.index['frame'][first['train_row']]}")
    on_disk = json.loads((out / "copies.json").read_text())
    assert {k: v for k, v in record.items() if k != "page"} == on_disk
    text = _Text(out / "copies.html").text
    assert f"{len(flagged)} of {len(planted)}" in text
    without = FrameStore.open(kept)
    assert len(without) == len(planted) - len(flagged)
    assert without.manifest["removed"][0]["rows"] == sorted(flagged)
    assert {video.name for video in without.videos} == {
        f"seed-{i}" for i in range(len(planted)) if i not in flagged
    }


def test_equal_images_are_copies_whatever_the_rate(hearts: FrameStore, tmp_path: Path) -> None:
    same = hearts.images[hearts.rows("train")[:3]]
    store = write_store(tmp_path / "same", hearts.preparation, [(Video("v"), same)])
    record = copies(store.path, hearts.path, rate=0.02, **QUICK)
    assert record is not None
    assert (record["flagged"], record["identical"]) == (3, 3)
    assert (tmp_path / "same.copies" / "copies.html").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate": 0.0}, "rate = 0.0: must be above 0"),
        ({"rate": 1e-4}, "held-out images cannot show a rate of 0.0001; give at least 10000"),
        ({"memory_gb": 0}, "memory_gb = 0: must be above 0"),
        ({"holdout_split": "train"}, "'train' cannot be trained on and held out"),
        ({"features": "random,efficientnet-lite0"}, "compared by one"),
    ],
)
def test_a_search_that_cannot_be_is_refused_before_any_feature(
    hearts: FrameStore, planted: FrameStore, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(UsageError, match=message):
        copies(planted.path, hearts.path, out=tmp_path / "out", cache=cache, **(QUICK | settings))
    assert not (tmp_path / "out" / "copies.json").exists()
    assert not list(cache.glob("*"))


def test_what_was_found_is_kept_where_nothing_would_remain(
    hearts: FrameStore, tmp_path: Path
) -> None:
    same = hearts.images[hearts.rows("train")[:3]]
    store = write_store(tmp_path / "same", hearts.preparation, [(Video("v"), same)])
    with pytest.raises(UsageError, match="all 3 images would be removed"):
        copies(store.path, hearts.path, rate=0.02, drop=tmp_path / "kept", **QUICK)
    found = json.loads((tmp_path / "same.copies" / "copies.json").read_text())
    assert found["identical"] == 3
    assert not (tmp_path / "kept").exists()


def test_a_training_set_that_is_held_out_is_refused(
    hearts: FrameStore, planted: FrameStore, tmp_path: Path
) -> None:
    """The same patients under another content: a leak that would hide copies."""
    rows = hearts.rows("train")[:160]
    again = write_store(
        tmp_path / "again",
        hearts.preparation,
        [
            (
                hearts.videos[number],
                np.flip(hearts.images[rows[hearts.index["video"][rows] == number]]),
            )
            for number in np.unique(hearts.index["video"][rows])
        ],
    )
    with pytest.raises(UsageError, match="in the training and the held-out set"):
        copies(planted.path, hearts.path, holdout=again.path, out=tmp_path / "out", **QUICK)


def test_stores_made_differently_are_refused(
    hearts: FrameStore, small_store: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"were made differently .*Prepare both alike$"):
        copies(small_store, hearts.path, out=tmp_path / "out", **QUICK)


@pytest.mark.parametrize("command", ["evaluate", "copies", "shift", "utility"])
def test_a_folder_in_use_is_said_at_once_and_no_page_replaces_another_file(
    hearts: FrameStore, planted: FrameStore, tmp_path: Path, command: str
) -> None:
    out = tmp_path / "out"
    calls: dict[str, Callable[[], object]] = {
        "evaluate": lambda: evaluate(planted.path, hearts.path, out=out, **QUICK),
        "copies": lambda: copies(planted.path, hearts.path, out=out, rate=0.2, **QUICK),
        "shift": lambda: shift(planted.path, hearts.path, out=out, epochs=1, num=16),
        "utility": lambda: utility(
            planted.path, hearts.path, label="EF", teacher=True, out=out, num=16
        ),
    }
    pages = {"evaluate": "evaluation.html", "utility": "utility.png"}
    with locks.locked(out), pytest.raises(UsageError, match="out is in use by another EchoSweep"):
        calls[command]()
    records = {"evaluate": "evaluation.json"}
    for name in (
        pages.get(command, f"{command}.html"),
        records.get(command, f"{command}.json"),
    ):
        (out / name).write_text('{"mine": 1}')
        with pytest.raises(UsageError, match=rf"{name} is there already, and is no"):
            calls[command]()
        assert [(path.name, path.read_text()) for path in out.iterdir()] == [(name, '{"mine": 1}')]
        (out / name).unlink()
