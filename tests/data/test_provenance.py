"""Which videos a model has seen, by content; and which of two stores is the generated one."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echosweep.data.provenance import (
    Knowledge,
    Seen,
    check_order,
    check_real,
    count_missing,
    count_seen,
    pair_notes,
)
from echosweep.data.store import FrameStore, Preparation, Video
from echosweep.data.writer import write_store
from echosweep.errors import UsageError

Hashes = st.lists(st.integers(0, 2**64 - 1), max_size=20)
GENERATED = {"kind": "generated"}


def store(
    path: Path, videos: Sequence[tuple[str, str]], size: int = 4, **source: Any
) -> FrameStore:
    """A store of (split, content) videos of two images each, black in every store."""
    rows = [
        (Video(f"v{i}", split, content=content), np.zeros((2, size, size), np.uint8))
        for i, (split, content) in enumerate(videos)
    ]
    return write_store(path, Preparation((size, size)), rows, source={"kind": "folder"} | source)


def number(i: int) -> str:
    return f"{i:016x}"


def known(trained: Sequence[int], chose: Sequence[int], complete: bool = True) -> Knowledge:
    arrays = (np.unique(np.array(each, np.uint64)) for each in (trained, chose))
    return Knowledge(*arrays, (("0" * 64, "train"),), complete)  # type: ignore[arg-type]


@given(Hashes, Hashes, st.booleans())
def test_knowledge_is_read_back_as_it_was_written(
    trained: list[int], chose: list[int], complete: bool
) -> None:
    one = known(trained, chose, complete)
    again = Knowledge.from_json(json.loads(json.dumps(one.to_json())))
    assert (again.trained.tolist(), again.chose.tolist()) == (sorted({*trained}), sorted({*chose}))
    assert (again.splits, again.complete) == (one.splits, one.complete)


@given(Hashes, Hashes)
def test_two_models_together_know_what_either_knows(one: list[int], other: list[int]) -> None:
    both = known(one, other).join(known(other, one, complete=False))
    assert both.trained.tolist() == both.chose.tolist() == sorted({*one, *other})
    assert not both.complete


def test_many_videos_stay_small() -> None:
    count = 358_000
    packed = json.dumps(known(range(count), []).to_json())
    assert len(packed) < 11 * count + 1000


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> FrameStore:
    """Six videos: 1 to 4 train, 5 val, 6 test."""
    splits = ["train"] * 4 + ["val", "test"]
    videos = [(split, number(i + 1)) for i, split in enumerate(splits)]
    return store(tmp_path_factory.mktemp("before") / "store", videos)


def test_videos_are_known_under_another_split_size_and_name(
    before: FrameStore, tmp_path: Path
) -> None:
    """Prepared anew: 4 is now in test, 6 in train, at another size, and 7 is new."""
    knows = Knowledge.of_rows(before, "train", before.rows("train"), before.rows("val"))
    videos = [("train", 6), ("test", 4), ("test", 7), ("val", 5), ("train", 1)]
    after = store(tmp_path / "after", [(split, number(i)) for split, i in videos], size=8)
    assert count_seen(knows, after, after.rows("test")) == Seen(2, 1, 0, 0)
    assert count_seen(knows, after, after.rows("val")) == Seen(1, 0, 1, 0)
    assert count_seen(knows, after, after.rows()) == Seen(5, 2, 1, 0)
    assert count_seen(knows, before, before.rows("test")) == Seen(1, 0, 0, 0)
    assert count_missing(knows, after, after.rows()) == 2


@pytest.mark.parametrize("split", ["train", "test", "all"])
def test_without_hashes_the_name_of_the_split_decides(split: str, tmp_path: Path) -> None:
    old = store(tmp_path / "old", [("train", ""), ("train", ""), ("test", "")])
    knows = Knowledge.of_rows(old, split, old.rows(None if split == "all" else split))
    of_model = Knowledge.of_model({"data": old.content, "config": {"split": split}})
    for each in (knows, of_model):
        assert count_seen(each, old, old.rows("train"))[1] == (2 if split != "test" else 0)
        assert count_seen(each, old, old.rows("test"))[1] == (1 if split != "train" else 0)
        assert count_seen(each, old, old.rows()).by_name == 3


def test_a_video_with_a_hash_is_not_told_by_its_split_once_all_are_known(
    before: FrameStore, tmp_path: Path
) -> None:
    knows = Knowledge.of_rows(before, "train", before.rows("train"))
    half = store(tmp_path / "half", [("train", number(9)), ("train", ""), ("train", number(2))])
    assert half.content != before.content
    assert count_seen(knows, half, half.rows()) == Seen(3, 1, 0, 1)


def test_real_images_know_nothing(before: FrameStore) -> None:
    assert count_seen(Knowledge.of_store(before), before, before.rows()) == Seen(6, 0, 0, 0)
    assert not list(Seen(6, 0, 0, 0).warnings())


@pytest.mark.parametrize(
    "seen", [Seen(6, 2, 0, 0), Seen(6, 0, 3, 0), Seen(6, 0, 0, 4), Seen(6, 6, 6, 6)]
)
def test_what_is_known_is_said_with_its_counts(seen: Seen) -> None:
    said = list(seen.warnings())
    counts = [count for count in seen[1:] if count]
    assert len(said) == len(counts)
    assert all(f"{n} of 6 videos" in text for n, text in zip(counts, said, strict=True))


def test_swapped_stores_are_refused_and_alike_ones_are_said(
    before: FrameStore, tmp_path: Path
) -> None:
    made = store(tmp_path / "made", [("train", "")], **GENERATED)
    with pytest.raises(UsageError, match="GENERATED REFERENCE"):
        check_order(before, made)
    check_order(made, before)
    assert not list(pair_notes(made, before))
    for pair in ((made, made), (before, before)):
        check_order(*pair)
        assert len(list(pair_notes(*pair))) == 1
    check_real(before, "--data")
    with pytest.raises(UsageError, match="--data"):
        check_real(made, "--data")


def test_the_identity_is_of_splits_patients_and_labels(before: FrameStore, tmp_path: Path) -> None:
    images = [before.images[before.index["video"] == i] for i in range(len(before.videos))]
    seen = {before.identity}
    for i, changes in enumerate(
        ({"split": "test"}, {"patient": "other"}, {"labels": {"EF": 1.0}}, {"content": "f" * 16})
    ):
        videos = [Video(**{**vars(v), **changes}) for v in before.videos]
        pairs = list(zip(videos, images, strict=True))
        other = write_store(tmp_path / str(i), before.preparation, pairs)
        assert other.content == before.content
        seen.add(other.identity)
    assert len(seen) == 5
    again = write_store(
        tmp_path / "again", before.preparation, list(zip(before.videos, images, strict=True))
    )
    assert again.identity == before.identity
