"""Videos that are there twice: under another name, codec, size; and those that only look dark."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from echosweep.data.duplicates import find_twins
from echosweep.data.prepare import prepare
from echosweep.data.store import Video

FINE = {"qmin": "2", "qmax": "2"}
Frames = NDArray[np.uint8]


def scenes(number: int, frames: int = 12, size: int = 48) -> Frames:
    """Return a smooth moving picture that depends on `number`."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[:size, :size] / size
    waves = rng.normal(0, 1.5, (6, 2))
    phase = rng.uniform(0, 6, 6)
    moving = [
        sum(
            np.sin(2 * np.pi * (fx * x + fy * y) + p + 0.1 * t)
            for (fx, fy), p in zip(waves, phase, strict=True)
        )
        for t in range(frames)
    ]
    return np.clip(128 + 20 * np.array(moving), 0, 255).astype(np.uint8)


@pytest.fixture
def hearts(tmp_path: Path, videos: SimpleNamespace) -> Path:
    for number in range(6):
        videos.write(
            tmp_path / "in" / f"v{number}.avi", scenes(number), "mjpeg", "yuvj420p", **FINE
        )
    return tmp_path / "in"


def copy_file(source: Path, videos: SimpleNamespace) -> None:
    shutil.copy(source / "v0.avi", source / "other name.avi")


def encode_again(source: Path, videos: SimpleNamespace) -> None:
    videos.write(source / "w.mp4", scenes(0), "libx264", "yuv420p", color_range=2, crf="18")


def make_larger(source: Path, videos: SimpleNamespace) -> None:
    videos.write(source / "w.mkv", scenes(0).repeat(2, 1).repeat(2, 2))


def cut_the_end(source: Path, videos: SimpleNamespace) -> None:
    videos.write(source / "w.avi", scenes(0)[:7], "mjpeg", "yuvj420p", **FINE)


def begin_in_the_dark(source: Path, videos: SimpleNamespace) -> None:
    dark = np.concatenate([np.zeros((5, 48, 48), np.uint8), scenes(0)])
    videos.write(source / "v0.avi", dark, "mjpeg", "yuvj420p", **FINE)
    videos.write(source / "w.mkv", dark)


@pytest.mark.parametrize(
    "make", [begin_in_the_dark, copy_file, encode_again, make_larger, cut_the_end]
)
def test_a_copy_is_found_and_kept_in_one_split(
    hearts: Path,
    tmp_path: Path,
    videos: SimpleNamespace,
    make: Callable[[Path, SimpleNamespace], None],
) -> None:
    make(hearts, videos)
    for seed in range(4):
        store = prepare(hearts, tmp_path / f"s{seed}", size=32, every=2, seed=seed, workers=1)
        summary = store.manifest["summary"]
        (pair,) = summary["equal_videos"] + summary["near_equal_videos"]
        assert bool(summary["equal_videos"]) == (make is copy_file)
        assert "v0.avi" in pair
        split = {video.name: video.split for video in store.videos}
        assert split[pair[0]] == split[pair[1]]


def test_different_videos_are_not_joined(hearts: Path, tmp_path: Path) -> None:
    summary = prepare(hearts, tmp_path / "s", size=32, workers=1).manifest["summary"]
    assert summary["equal_videos"] == summary["near_equal_videos"] == []


def test_clips_of_real_patients_are_not_joined(shared_data: Path, tmp_path: Path) -> None:
    store = prepare(shared_data / "clips" / "convex", tmp_path / "s", every=20, workers=1)
    assert len(store.videos) > 20
    assert store.manifest["summary"]["near_equal_videos"] == []


def test_what_a_published_split_parts_is_said(
    hearts: Path, tmp_path: Path, videos: SimpleNamespace
) -> None:
    copy_file(hearts, videos)
    table = "file,split\nv0.avi,train\nother name.avi,test\n"
    (hearts / "videos.csv").write_text(table)
    store = prepare(hearts, tmp_path / "s", size=32, workers=1)
    split = {video.name: video.split for video in store.videos}
    assert (split["v0.avi"], split["other name.avi"]) == ("train", "test")
    assert any("in two splits" in warning for warning in store.manifest["summary"]["warnings"])


PICTURES = {0: np.zeros((4, 16, 16), np.uint8)} | {n: scenes(n, 4, 16) for n in range(1, 6)}


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=30),
    st.lists(st.integers(1, 4), min_size=30, max_size=30),
)
def test_pairs_are_those_that_show_the_same(scene: list[int], lengths: list[int]) -> None:
    """Scene 0 is black, and proves nothing; the others agree exactly with themselves alone."""
    frames = [list(range(length)) for length in lengths[: len(scene)]]
    images = np.concatenate([PICTURES[s][: len(f)] for s, f in zip(scene, frames, strict=True)])
    content = [f"{s}-{len(f)}" for s, f in zip(scene, frames, strict=True)]
    twins = find_twins([Video(f"v{i}", content=c) for i, c in enumerate(content)], frames, images)
    assert all(content[a] == content[b] for a, b in twins.equal)
    joined = {frozenset((scene[a], scene[b])) for a, b in [*twins.equal, *twins.near]}
    assert all(len(pair) == 1 and 0 not in pair for pair in joined)
    for number in set(scene) - {0}:
        rows = [row for row, s in enumerate(scene) if s == number]
        linked = {row for pair in [*twins.equal, *twins.near] for row in pair} & set(rows)
        assert linked == (set(rows) if len(rows) > 1 else set())
