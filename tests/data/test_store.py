"""The frame store: what is written is what is read, and damage or a stop never goes unseen."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echosweep import runs
from echosweep.data.store import (
    FrameStore,
    Preparation,
    Video,
    check_comparable,
)
from echosweep.data.writer import StoreWriter, write_store
from echosweep.errors import EchoSweepError, UsageError
from echosweep.folders import partial_path

SMALL = Preparation((8, 10))
TASK = {"of": "test"}


def clip(frames: int, value: int = 0, preparation: Preparation = SMALL) -> np.ndarray:
    shape = (frames, *preparation.size, *([3] if preparation.channels == 3 else []))
    return (np.arange(np.prod(shape)).reshape(shape) + value).astype(np.uint8)


def make(out: Path, splits: tuple[str, ...] = ("train", "val")) -> FrameStore:
    rows = [(Video(f"v{i}", split), clip(3 + i, i)) for i, split in enumerate(splits)]
    return write_store(out, SMALL, rows, source={"kind": "test"})


@settings(max_examples=25, deadline=None)
@given(
    frames=st.lists(st.integers(1, 4), min_size=1, max_size=5),
    size=st.tuples(st.integers(8, 12), st.integers(8, 12)),
    channels=st.sampled_from([1, 3]),
    label=st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5)),
)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
    frames: list[int],
    size: tuple[int, int],
    channels: int,
    label: float | str,
) -> None:
    out = tmp_path_factory.mktemp("round") / "store"
    preparation = Preparation(size, channels)
    videos = [
        (Video(f"v{i}", "test", f"p{i}", {"x": label}), clip(n, i, preparation))
        for i, n in enumerate(frames)
    ]
    write_store(out, preparation, videos)
    store = FrameStore.open(out)
    assert store.preparation == preparation
    assert store.videos == [video for video, _ in videos]
    np.testing.assert_array_equal(store.images, np.concatenate([images for _, images in videos]))
    np.testing.assert_array_equal(store.index["frame"], np.concatenate([range(n) for n in frames]))
    np.testing.assert_array_equal(store.index["video"], np.repeat(range(len(frames)), frames))
    np.testing.assert_array_equal(np.load(out / "images.npy"), store.images)


def test_rows_are_of_their_split(tmp_path: Path) -> None:
    store = make(tmp_path / "store", ("train", "val", "train"))
    assert store.rows("train").tolist() == [0, 1, 2, 7, 8, 9, 10, 11]
    assert store.rows("val").tolist() == [3, 4, 5, 6]
    assert store.rows().tolist() == list(range(12))
    assert store.manifest["splits"]["train"] == {"videos": 2, "images": 8}


def test_an_empty_split_says_what_there_is(tmp_path: Path) -> None:
    store = make(tmp_path / "store")
    with pytest.raises(UsageError, match=r"no image in split 'test'.*'train': 3, 'val': 4"):
        store.rows("test")
    with pytest.raises(UsageError, match="'dev' is not one of train, val, test"):
        store.rows("dev")


@pytest.mark.parametrize("name", ["images.npy", "index.npy", "videos.json"])
@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_damage_is_found(tmp_path: Path, name: str, damage: str) -> None:
    path = make(tmp_path / "store").path / name
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data if damage == "flip" else data[:-2])
    with pytest.raises(EchoSweepError, match=f"{name} does not match its SHA-256"):
        FrameStore.open(tmp_path / "store")


def test_a_damaged_manifest_is_one_clear_error(tmp_path: Path) -> None:
    manifest = make(tmp_path / "store").path / "manifest.json"
    manifest.write_text(manifest.read_text()[:-20])
    with pytest.raises(EchoSweepError, match=r"manifest\.json is damaged"):
        FrameStore.open(tmp_path / "store")
    manifest.write_text(json.dumps({"format": 99}))
    with pytest.raises(UsageError, match="format 99, this version reads 1"):
        FrameStore.open(tmp_path / "store")


@pytest.mark.parametrize(
    "wrong",
    [
        {"preparation": {"size": [10, 8]}},
        {"preparation": {"size": "8"}},
        {"preparation": {"size": [8, 10], "filter": "box"}},
        {"preparation": {"size": [8, 10], "of": "tomorrow"}},
        {"fingerprint": "0"},
        {"sha256": None},
    ],
)
def test_a_manifest_of_other_images_is_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    """Even where its signature is right: somebody wrote it by hand."""
    path = make(tmp_path / "store").path / "manifest.json"
    runs.write_record(path, runs.read_record(path, "") | wrong)
    with pytest.raises(EchoSweepError, match="damaged frame store"):
        FrameStore.open(tmp_path / "store")


@pytest.mark.parametrize("name", ["images.npy", "index.npy", "videos.json"])
@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00", b"[1]"])
def test_damage_is_one_clear_error_without_verification(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (make(tmp_path / "store").path / name).write_bytes(content)
    with pytest.raises(EchoSweepError, match="damaged frame store"):
        FrameStore.open(tmp_path / "store", verify=False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("index", (-1, 0)), ("index", (0, -1)), ("index", (10**9, 0))],
        *[("videos", {"name": 1}), ("videos", {"split": "elsewhere"}), ("videos", {"labels": [1]})],
        *[("videos", {"labels": {"EF": [1]}}), ("videos", {"patient": 3}), ("videos", {"of": 1})],
    ],
)
def test_what_somebody_wrote_by_hand_is_refused(tmp_path: Path, name: str, value: Any) -> None:
    path = make(tmp_path / "store").path
    if name == "index":
        index = np.load(path / "index.npy")
        index[0] = value
        np.save(path / "index.npy", index)
    else:
        videos = json.loads((path / "videos.json").read_bytes())
        (path / "videos.json").write_text(json.dumps([videos[0] | value, *videos[1:]]))
    with pytest.raises(EchoSweepError, match="damaged frame store"):
        FrameStore.open(path, verify=False)


def test_a_writer_that_fails_with_nothing_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="full"), StoreWriter(tmp_path / "store", SMALL, TASK):
        raise OSError("full")
    assert not list(tmp_path.iterdir())


def test_what_is_not_a_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="echosweep prepare SOURCE"):
        FrameStore.open(tmp_path / "absent")
    with pytest.raises(UsageError, match="is not a frame store"):
        FrameStore.open(tmp_path)
    with StoreWriter(tmp_path / "half", SMALL, TASK) as writer:
        writer.append(Video("a"), clip(2), [0, 1])
    with pytest.raises(UsageError, match="not finished; run the command"):
        FrameStore.open(tmp_path / "half")


@pytest.mark.parametrize("cut", ["nothing", "journal line", "image bytes", "both"])
def test_a_stopped_writer_continues_to_the_same_bytes(tmp_path: Path, cut: str) -> None:
    videos = [(Video(f"v{i}"), clip(2 + i, 7 * i)) for i in range(4)]
    whole = write_store(tmp_path / "whole", SMALL, videos)
    with StoreWriter(tmp_path / "cut", SMALL, TASK) as writer:
        for video, images in videos[:2]:
            writer.append(video, images, range(len(images)))
    partial = partial_path(tmp_path / "cut")
    if cut in ("journal line", "both"):  # killed within the note of video 1
        journal = (partial / "journal.jsonl").read_bytes()
        (partial / "journal.jsonl").write_bytes(journal[:-10])
    if cut in ("image bytes", "both"):  # killed within the pixels of video 2
        with (partial / "content" / "images.npy").open("ab") as file:
            file.write(b"half a frame")
    with StoreWriter(tmp_path / "cut", SMALL, TASK) as writer:
        assert writer.done == {"v0"} if cut in ("journal line", "both") else {"v0", "v1"}
        for video, images in videos[len(writer.journal) :]:
            writer.append(video, images, range(len(images)))
        store = writer.finish()
    for name in ("images.npy", "index.npy", "videos.json"):
        assert runs.sha256_file(store.path / name) == runs.sha256_file(whole.path / name)
    assert not partial.exists()
    assert sorted(file.name for file in store.path.iterdir()) == [
        *("images.npy", "index.npy", "manifest.json", "videos.json"),
    ]


def test_excluded_videos_are_kept_with_their_reason(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "store", SMALL, TASK) as writer:
        writer.exclude("bad", "no frames")
        writer.append(Video("good"), clip(2), [0, 5])
        store = writer.finish()
    assert store.manifest["excluded"] == {"bad": "no frames"}
    assert [video.name for video in store.videos] == ["good"]
    assert store.index["frame"].tolist() == [0, 5]


def test_a_store_without_images_is_refused(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "store", SMALL, TASK) as writer:
        writer.exclude("bad", "no frames")
        with pytest.raises(EchoSweepError, match=r"no image to write.*no frames"):
            writer.finish()


def test_another_task_is_not_mixed_in(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "store", SMALL, {"every": 5, "seed": 0}):
        pass
    with (
        pytest.raises(UsageError, match=r"other settings \(every\)"),
        StoreWriter(tmp_path / "store", SMALL, {"every": 2, "seed": 0}),
    ):
        pass


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with (
        StoreWriter(tmp_path / "store", SMALL, TASK),
        pytest.raises(UsageError, match="in use by another"),
        StoreWriter(tmp_path / "store", SMALL, TASK),
    ):
        pass


def test_an_existing_store_is_never_overwritten(tmp_path: Path) -> None:
    make(tmp_path / "store")
    with pytest.raises(UsageError, match="exists already"):
        make(tmp_path / "store")


def test_a_fingerprint_tells_preparations_apart(tmp_path: Path) -> None:
    base = Preparation((64, 64))
    others = [
        *(Preparation((64, 112)), Preparation((64, 64), 3), Preparation((64, 64), fit="letterbox")),
        *(Preparation((64, 64), filter="box"), Preparation((64, 64), luma="limited")),
    ]
    assert len({each.fingerprint for each in [base, *others]}) == 6
    assert Preparation.from_json({"size": [64, 64]}).fingerprint == base.fingerprint


def test_stores_made_differently_are_compared_only_when_allowed_by_name(tmp_path: Path) -> None:
    one = make(tmp_path / "one")
    other = Preparation(SMALL.size, filter="box", luma="limited")
    two = write_store(tmp_path / "two", other, [(Video("a"), clip(1))])
    check_comparable(one, one)
    with pytest.raises(UsageError, match="--allow-difference filter --allow-difference luma"):
        check_comparable(one, two, [])
    with pytest.raises(UsageError, match="made differently"):
        check_comparable(one, two, ["filter"])
    check_comparable(one, two, ["filter", "luma"])
    with pytest.raises(UsageError, match="cannot be allowed"):
        check_comparable(one, two, ["colour"])


@pytest.mark.parametrize("out", ["/", "", "."])
def test_a_store_needs_a_name(out: str) -> None:
    with pytest.raises(UsageError, match="give the name of a folder"):
        StoreWriter(out, SMALL, TASK)
