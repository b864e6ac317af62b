"""Halves that share nothing, lines in 1/N, and the floor itself."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echosweep.data.store import Preparation, Video
from echosweep.data.writer import write_store
from echosweep.errors import UsageError
from echosweep.evaluation.fid import distance_of
from echosweep.evaluation.floor import (
    Curve,
    above_floor,
    counts_up_to,
    fit,
    floor_curve,
    halve,
    largest_half,
)
from echosweep.evaluation.frechet import measure_frechet
from echosweep.evaluation.noise import REPEATS, measure_noise
from echosweep.evaluation.sets import Side


@pytest.fixture(scope="module")
def clustered(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Make a side of `videos` videos of `frames` frames; frames of one video are alike."""

    def make(
        seed: int, videos: int = 40, frames: int = 10, shift: float = 0.0, patients: int = 0
    ) -> Side:
        draw = np.random.default_rng(seed)
        centres = np.repeat(draw.normal(size=(videos, 6)), frames, axis=0)
        features = (centres + 0.5 * draw.normal(size=centres.shape) + shift).astype(np.float32)
        images = np.zeros((frames, 4, 4), np.uint8)
        rows = [
            (Video(f"v{i}", patient=f"p{i % patients}" if patients else None), images)
            for i in range(videos)
        ]
        store = write_store(tmp_path_factory.mktemp("floor") / "store", Preparation((4, 4)), rows)
        return Side(store, np.arange(len(store)), features)

    return make


@pytest.mark.parametrize("seed", range(5))
def test_halves_by_video_share_no_patient(clustered: Any, seed: int) -> None:
    side = clustered(0, patients=7)
    one, other = halve(side, "video", seed)
    assert not set(side.groups[one]) & set(side.groups[other])
    assert sorted([*one, *other]) == list(range(len(side)))
    assert abs(len(one) - len(other)) <= 60  # of one patient
    assert list(one) != sorted(one)


def test_halves_by_frame_are_even_and_drawn_by_the_seed(clustered: Any) -> None:
    side = clustered(0)
    one, other = halve(side, "frame", 0)
    assert (len(one), len(other)) == (200, 200)
    assert not set(one) & set(other)
    assert list(one) == list(halve(side, "frame", 0)[0])
    assert list(one) != list(halve(side, "frame", 1)[0])


@given(st.floats(-5, 50), st.floats(0, 1e5), st.integers(40, 10**6), st.integers(1, 3000))
@settings(max_examples=50, deadline=None)
def test_a_line_in_one_over_n_is_found_exactly(a: float, b: float, n: int, dims: int) -> None:
    counts = counts_up_to(n, dims)
    assert counts[-1] == n
    assert counts == sorted(set(counts))
    assert counts[0] >= min(dims + 1, n / 1.5) - 1
    found = fit(counts, [a + b / count for count in counts])
    assert found == pytest.approx((a, b), rel=1e-6, abs=1e-5)


def test_the_record_of_a_curve_in_closed_form() -> None:
    record = Curve([100, 200, 400], [[3.0, 2.0, 1.5], [5.0, 3.0, 2.0]]).record()
    assert record["mean"] == 1.75
    assert record["std"] == pytest.approx(np.sqrt(0.125))
    assert record["infinity"] == pytest.approx(1.0)
    assert record["slope"] == pytest.approx(300)
    assert record["infinity_std"] == pytest.approx(0, abs=1e-12)


def test_the_bias_is_gone_at_infinite_n_and_videos_show(clustered: Any) -> None:
    """Frames drawn from the same hearts are close; other hearts are farther, as they should be."""
    side = clustered(1)
    by_frame, by_video = (floor_curve(side, by, 190, 5, 0).record() for by in ("frame", "video"))
    assert abs(by_frame["infinity"]) < 0.5 * by_frame["mean"]
    assert by_video["mean"] > 2 * by_frame["mean"]


def test_a_curve_ends_at_the_distance_of_the_whole(clustered: Any) -> None:
    side = clustered(2)
    curve = floor_curve(side, "video", 100, 1, 3)
    one, other = halve(side, "video", 3)
    whole = distance_of(side.features[one[:100]], side.features[other[:100]])
    assert curve.values[0][-1] == pytest.approx(whole, rel=1e-9)


def test_what_cannot_be_halved_is_refused(clustered: Any) -> None:
    single = clustered(0, videos=1)
    with pytest.raises(UsageError, match=r"one patient or video.*--by frame"):
        largest_half(single, "video", None, 1, 0)
    with pytest.raises(UsageError, match=r"--num 300: halves .* by frame have 200 images"):
        largest_half(clustered(0), "frame", 300, 1, 0)
    with pytest.raises(UsageError, match="too few to be halved"):
        largest_half(clustered(0, videos=2, frames=1), "frame", None, 1, 0)


def test_a_generator_as_good_as_real_is_at_the_floor(clustered: Any) -> None:
    """Images of other hearts score what real ones score; shifted ones are above by the shift."""
    reference = clustered(3, videos=80)
    above = {}
    for shift in (0.0, 1.0):
        found = above_floor(clustered(4, 80, 10, shift), reference, 4, 0, 3)
        assert found is not None
        made, real, by = found
        assert by == "video"
        assert made.counts == real.counts
        above[shift] = made.record()["mean"] - real.record()["mean"]
    assert abs(above[0.0]) < 0.3
    assert above[1.0] == pytest.approx(6.0, rel=0.2)  # six features, each shifted by 1


def test_the_metric_says_all_of_it(clustered: Any) -> None:
    made, real = clustered(5, 40, 10, 1.0), clustered(6)
    found = measure_frechet(made, real, seed=0)
    value = found.values["fd"]
    assert value == distance_of(made.features, real.features)
    assert found.intervals["fd"][0] < value < found.intervals["fd"][1]
    assert found.values["fd_above_floor"] == pytest.approx(
        found.values["fd_at_floor"] - found.values["fd_floor"]
    )
    sizes = {"n_generated": len(made), "n_reference": len(real)}
    assert sizes.items() <= found.details["interval"].items()
    assert found.notes == []
    assert found == measure_frechet(made, real, seed=0)


def test_few_images_and_a_single_video_are_noted(clustered: Any) -> None:
    few = clustered(7, videos=3, frames=2)
    notes = measure_frechet(few, few, seed=0).notes
    assert any("rank 5 at most" in note for note in notes)
    assert any("interval is of the distance at 6 images" in note for note in notes)
    single = measure_frechet(clustered(8), clustered(9, videos=1), seed=0)
    assert any("by frame" in note for note in single.notes)
    assert single.intervals == {}
    assert "interval" not in single.details


@pytest.mark.parametrize(("videos", "frames"), [(1, 2), (1, 3), (2, 1), (3, 1)])
def test_too_few_images_for_a_floor_have_a_distance_all_the_same(
    clustered: Any, videos: int, frames: int
) -> None:
    tiny = clustered(12, videos=videos, frames=frames)
    found = measure_frechet(clustered(13), tiny, seed=0)
    assert set(found.values) == {"fd"}
    assert np.isfinite(found.values["fd"])
    assert any("no floor" in note for note in found.notes)


def test_noise_is_the_spread_of_redraws_from_the_pool(clustered: Any) -> None:
    pool, real = clustered(10, videos=400, frames=1), clustered(11)
    made = Side(pool.store, np.arange(40), pool.features[:40], pool)
    found = measure_noise(made, real, seed=0)
    generated = found.details["generated"]
    assert (generated["n"], generated["pool"], generated["disjoint"]) == (40, 400, True)
    by_hand = [
        distance_of(pool.features[rows], real.features)
        for rows in np.random.default_rng(0).permutation(400).reshape(REPEATS, 40)
    ]
    assert found.values["fd_generated_redrawn_mean"] == pytest.approx(np.mean(by_hand), rel=0.2)
    assert found.values["fd_generated_redrawn_std"] == pytest.approx(np.std(by_hand), rel=1.0)
    assert (found.details["real"]["n"], found.details["real"]["disjoint"]) == (200, False)
    assert len(set(found.details["real"]["values"])) == REPEATS


def test_two_images_cannot_be_redrawn(clustered: Any) -> None:
    found = measure_noise(clustered(14), clustered(15, videos=1, frames=3), seed=0)
    assert set(found.values) == {"fd_generated_redrawn_mean", "fd_generated_redrawn_std"}
    assert found.notes == ["3 real images are too few to be redrawn; 4 are the least"]
