"""Precision, recall, density, coverage: golden values of `prdc`, closed forms, order, borders."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from echosweep.data.store import FrameStore, Preparation, Video
from echosweep.data.writer import write_store
from echosweep.errors import UsageError
from echosweep.evaluation import prdc
from echosweep.evaluation.prdc import count, group_interval, measure_prdc
from echosweep.evaluation.sets import Side

CASES = range(4)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FrameStore:
    """125 videos of 4 images: rows to hang features on."""
    videos = [(Video(f"v{i}"), np.zeros((4, 2, 2), np.uint8)) for i in range(125)]
    return write_store(tmp_path_factory.mktemp("prdc") / "store", Preparation((2, 2)), videos)


def side(store: FrameStore, features: NDArray[Any]) -> Side:
    return Side(store, np.arange(len(features)), features.astype(np.float32))


@pytest.mark.parametrize("case", CASES)
def test_values_are_those_of_prdc(golden: Path, store: FrameStore, case: int) -> None:
    of = json.loads((golden / "prdc.json").read_text())["cases"][case]
    draw = np.random.default_rng(of["seed"])
    reference = draw.normal(size=(of["n_reference"], of["dims"]))
    generated = of["shift"] + of["scale"] * draw.normal(size=(of["n_generated"], of["dims"]))
    result = measure_prdc(side(store, generated), side(store, reference), 0)
    assert result.values == pytest.approx(of["values"], abs=1e-6)


def test_a_tight_cluster_in_a_wide_reference_is_precise_and_misses_much(store: FrameStore) -> None:
    draw = np.random.default_rng(0)
    wide, tight = draw.normal(size=(300, 4)), 0.05 * draw.normal(size=(300, 4))
    values = measure_prdc(side(store, tight), side(store, wide), 0).values
    assert values["precision"] == 1
    assert values["recall"] < 0.05
    swapped = measure_prdc(side(store, wide), side(store, tight), 0).values
    assert swapped["precision"] < 0.05
    assert swapped["recall"] == 1


def test_a_set_against_itself_is_1_in_all_four_because_borders_are_outside() -> None:
    x = np.random.default_rng(0).normal(10_000, 1, (200, 8)).astype(np.float32)
    counts = count(x, x, 5)
    # A ball holds its centre and 4 of 5 neighbours: the fifth is its border.
    assert counts.balls.mean() / 5 == 1
    assert counts.covered.all()
    assert counts.reached.all()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(7, 40), st.integers(7, 40), st.integers(1, 5))
def test_points_on_a_lattice_are_counted_as_their_exact_distances_say(
    seed: int, n: int, m: int, k: int
) -> None:
    draw = np.random.default_rng(seed)  # a lattice: most distances lie on a border
    generated, reference = draw.integers(0, 4, (n, 2)), draw.integers(0, 4, (m, 2))

    def squares(x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.int64]:
        found: NDArray[np.int64] = np.square(x[:, None] - y).sum(-1)
        return found

    of_generated, of_reference = (np.sort(squares(x, x), 1)[:, k] for x in (generated, reference))
    across = squares(generated, reference)
    counts = count(generated.astype(np.float32), reference.astype(np.float32), k)
    assert (counts.balls == (across < of_reference).sum(1)).all()
    assert (counts.covered == (across < of_reference).any(0)).all()
    assert (counts.reached == (across < of_generated[:, None]).any(0)).all()


@pytest.mark.parametrize("memory", [50_000, 2**30])
def test_a_grid_is_counted_by_hand(memory: int) -> None:
    reference = np.arange(10.0)[:, None]  # k = 1: every ball has radius 1
    generated = np.array([[0.5], [1.0], [8.75], [30.0]])
    counts = count(generated, reference, 1, memory)
    assert counts.balls.tolist() == [2, 1, 2, 0]
    assert counts.covered.tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 1, 1]
    # Radii of the generated: 0.5, 0.5, 7.75, 21.25. Row 0 is on the border of the first.
    assert counts.reached.tolist() == [0] + [1] * 9


def test_intervals_hold_the_value_and_are_wider_for_dependent_images(store: FrameStore) -> None:
    draw = np.random.default_rng(0)
    reference, generated = draw.normal(size=(300, 8)), 0.5 + draw.normal(size=(300, 8))
    result = measure_prdc(side(store, generated), side(store, reference), 0)
    for name, (low, high) in result.intervals.items():
        assert low <= result.values[name] <= high
    assert set(result.intervals) == set(result.values)
    same_in_a_video = np.repeat(draw.integers(0, 2, 75), 4).astype(float)
    low, high = group_interval(same_in_a_video, np.arange(300) // 4, 0) or (0, 0)
    alone = group_interval(same_in_a_video, np.arange(300), 0) or (0, 0)
    # Four equal images a group: the variance is 4 times that of 300 draws.
    assert (high - low) / (alone[1] - alone[0]) == pytest.approx(2, rel=0.15)
    assert group_interval(same_in_a_video, np.zeros(300, int), 0) is None


def test_large_sides_are_subsampled_by_the_seed(
    store: FrameStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prdc, "MOST", 100)
    draw = np.random.default_rng(0)
    both = side(store, draw.normal(size=(400, 4))), side(store, draw.normal(size=(300, 4)))
    first = measure_prdc(*both, 0)
    assert first.details == {"k": 5, "n_generated": 100, "n_reference": 100}
    assert first.values == measure_prdc(*both, 0).values
    assert first.values != measure_prdc(*both, 1).values
    assert sum("take part" in note for note in first.notes) == 2


def test_too_few_images_or_no_features_are_refused(store: FrameStore) -> None:
    enough = side(store, np.random.default_rng(0).normal(size=(20, 3)))
    with pytest.raises(UsageError, match="5 images have no 5-th neighbour"):
        measure_prdc(side(store, np.zeros((5, 3))), enough, 0)
    with pytest.raises(UsageError, match="reference side has no features"):
        measure_prdc(enough, Side(store, np.arange(20)), 0)


def test_unequal_sizes_and_long_videos_are_noted(tmp_path: Path, store: FrameStore) -> None:
    long = write_store(
        tmp_path / "long", Preparation((2, 2)), [(Video("v"), np.zeros((50, 2, 2), np.uint8))]
    )
    draw = np.random.default_rng(0)
    made, real = side(store, draw.normal(size=(40, 3))), side(long, draw.normal(size=(50, 3)))
    result = measure_prdc(made, real, 0)
    assert any("40 and 50" in note for note in result.notes)
    assert any("up to 50 images" in note for note in result.notes)
    assert "recall" not in result.intervals
