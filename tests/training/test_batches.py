from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from echosweep.config import TrainConfig
from echosweep.data.store import FrameStore, Preparation, Video
from echosweep.data.writer import write_store
from echosweep.errors import UsageError
from echosweep.training.batches import (
    Batches,
    class_names,
    load_batches,
    rows_with_class,
    sigma_data,
)

CPU = torch.device("cpu")


def make(count: int, seed: int = 0) -> Batches:
    images = torch.arange(count, dtype=torch.uint8).reshape(-1, 1, 1, 1)
    return Batches(images, None, seed)


@given(st.integers(1, 40), st.integers(0, 200), st.integers(1, 60), st.integers(0, 3))
def test_order_is_one_endless_sequence(size: int, start: int, count: int, seed: int) -> None:
    whole = make(size, seed).order(0, start + count)
    assert torch.equal(make(size, seed).order(start, count), whole[start:])


@given(st.integers(1, 40), st.integers(0, 5))
def test_every_epoch_sees_every_image_once(size: int, epoch: int) -> None:
    assert sorted(make(size).order(epoch * size, size).tolist()) == list(range(size))


def test_epochs_and_seeds_differ() -> None:
    batches = make(50)
    assert not torch.equal(batches.order(0, 50), batches.order(50, 50))
    assert not torch.equal(batches.order(0, 50), make(50, seed=1).order(0, 50))


def test_images_are_scaled_to_one() -> None:
    images = torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1)
    values, _ = Batches(images, None, 0).get(0, 2, CPU)
    assert sorted(values.flatten().tolist()) == [-1, 1]


def test_training_split_alone_is_loaded_with_its_labels(small_store: Path) -> None:
    store = FrameStore.open(small_store)
    config = TrainConfig.make({"total_kimg": 1, "label": "side"})
    batches = load_batches(store, config, CPU)
    assert len(batches.images) == 14 * 8
    assert batches.labels is not None
    assert batches.labels.argmax(1).tolist() == [1 - v % 2 for v in range(14) for _ in range(8)]


def test_label_must_be_a_word_on_every_video(small_store: Path) -> None:
    store = FrameStore.open(small_store)
    assert class_names(store, "side") == ("left", "right")
    assert class_names(store, None) == ()
    for label in ("EF", "nothing"):
        with pytest.raises(UsageError, match=r"of 20 videos .*: side$"):
            class_names(store, label)


def test_a_label_is_needed_only_where_training_looks(tmp_path: Path) -> None:
    """Two train videos lack the sex, which is said of them alone; one val video has no view."""
    labels: list[tuple[str, dict[str, float | str]]] = [
        *[("train", {"sex": "F", "view": "4C"}), ("train", {"sex": "M", "view": "2C"})],
        *[("train", {"view": "2C"}), ("train", {"sex": 1.0, "view": "2C"})],
        *[("val", {"sex": "F"}), ("val", {"view": "PLAX"}), ("val", {"view": "4C"})],
    ]
    images = np.zeros((1, 8, 8), np.uint8)
    videos = [
        (Video(f"v{i}", split, labels=words), images) for i, (split, words) in enumerate(labels)
    ]
    store = write_store(tmp_path / "store", Preparation((8, 8)), videos)
    with pytest.raises(UsageError, match=r"sex .*2 of 4 videos.*\(v2, v3\).*: view$"):
        class_names(store, "sex", "train")
    with pytest.raises(UsageError, match=r"view is missing on 1 of 7 .*\(v4\).*: none$"):
        class_names(store, "view")
    assert class_names(store, "view", "train") == ("2C", "4C")
    assert rows_with_class(store, store.rows("val"), "view", ("2C", "4C")).tolist() == [6]
    config = TrainConfig.make({"total_kimg": 1, "label": "view"})
    batches = load_batches(store, config, CPU)
    assert batches.labels is not None
    assert batches.labels.argmax(1).tolist() == [1, 0, 0, 0]


def test_sigma_data_is_the_standard_deviation(small_store: Path) -> None:
    store = FrameStore.open(small_store)
    wanted = (np.asarray(store.images) / 127.5 - 1).std()
    assert sigma_data(store, store.rows()) == pytest.approx(wanted)
