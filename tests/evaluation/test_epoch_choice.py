"""The leak in closed form, halves that share nothing, and an error that is the textbook's."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from echosweep.data.store import Preparation, Video
from echosweep.data.writer import write_store
from echosweep.evaluation.epoch_choice import Choice, Splits, draw_halves, estimate
from echosweep.evaluation.fid import distance_of
from echosweep.evaluation.sets import Side

distances = st.tuples(st.integers(1, 6), st.integers(1, 4)).flatmap(
    lambda shape: arrays(float, (*shape, 2), elements=st.floats(0, 100))
)


def choice(values: np.ndarray, unguided: float = 5.0) -> Choice:
    return Choice(range(1, len(values) + 1), values, np.full(values.shape[1:], unguided))


@pytest.mark.parametrize(("epochs", "of_a_sigma"), [(1, 0), (2, np.pi**-0.5), (10, 1.53875)])
def test_the_leak_of_equal_epochs_is_what_the_least_of_them_is_below_their_mean(
    epochs: int, of_a_sigma: float
) -> None:
    """E min of n standard normals: 0, -1/sqrt(pi), -1.53875 (Harter 1961)."""
    values = np.random.default_rng(0).normal(30, 2, (epochs, 40_000, 2))
    found = choice(values)
    assert found.leak.mean() == pytest.approx(2 * of_a_sigma, rel=0.02)
    assert found.same.mean() == pytest.approx(30 - 2 * of_a_sigma, rel=0.002)
    assert found.other.mean() == pytest.approx(30, rel=0.002)


def test_a_clearly_better_epoch_is_chosen_without_a_leak() -> None:
    values = np.random.default_rng(0).normal(30, 1, (5, 10, 2))
    values[2] -= 20
    record = choice(values, unguided=30.0).record()
    assert record["choice"]["epoch"] == 3
    assert record["details"]["picked"] == [[3, 3]] * 10
    assert [row["chosen"] for row in record["epochs"]] == [0, 0, 20, 0, 0]
    assert record["choice"]["leak"] == {"mean": 0, "std": 0}
    assert record["choice"]["reported"]["mean"] == pytest.approx(values[2].mean())
    assert record["difference"]["mean"] == pytest.approx(values[2].mean() - 30)
    assert record["difference"]["interval"][1] < 0


def test_by_hand() -> None:
    """Half 0 chooses epoch 7 (1.0), which half 1 calls 4.0; half 1 chooses 9 (2.0), 0 says 3.0."""
    values = np.array([[[1.0, 4.0]], [[3.0, 2.0]]])
    found = Choice([7, 9], values, np.array([[5.0, 6.0]]))
    assert found.picked.tolist() == [[7, 9]]
    assert found.same.tolist() == [[1.0, 2.0]]
    assert found.other.tolist() == [[4.0, 3.0]]
    assert found.leak.tolist() == [2.0]
    assert found.difference.tolist() == [[4.0 - 6.0, 3.0 - 5.0]]
    assert found.epoch == 7  # the earlier of equal ones


@given(distances)
@settings(max_examples=200, deadline=None)
def test_the_leak_is_never_negative_and_halves_have_no_order(values: np.ndarray) -> None:
    found, swapped = choice(values), choice(values[:, :, ::-1])
    assert (found.leak >= 0).all()
    agree = found.picked[:, 0] == found.picked[:, 1]
    assert (found.leak[agree] == 0).all()
    assert swapped.leak == pytest.approx(found.leak)
    assert swapped.epoch == found.epoch
    assert estimate(swapped.other) == pytest.approx(estimate(found.other))


def test_the_error_over_all_halvings_is_the_textbook_s() -> None:
    """Of a mean it is s / sqrt(n) exactly, which the splits' own means (all equal) cannot show."""
    patients = np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0])
    halves = [list(half) for half in combinations(range(8), 4)]
    values = np.array([[patients[h].mean(), np.delete(patients, h).mean()] for h in halves])
    found = estimate(values)
    assert found.mean == pytest.approx(patients.mean())
    assert found.error == pytest.approx(patients.std(ddof=1) / np.sqrt(8))
    assert values.mean(axis=1).std() == pytest.approx(0, abs=1e-12)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Side:
    """24 videos, two a patient, of 5 frames; frames of one patient are alike."""
    draw = np.random.default_rng(0)
    images = np.zeros((5, 4, 4), np.uint8)
    videos = [(Video(f"v{i}", patient=f"p{i // 2}"), images) for i in range(24)]
    store = write_store(tmp_path_factory.mktemp("stores") / "real", Preparation((4, 4)), videos)
    features = draw.normal(size=(12, 3)).repeat(10, axis=0) + 0.5 * draw.normal(size=(120, 3))
    return Side(store, store.rows(), features.astype(np.float32))


def made(seed: int, shift: float = 0.0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(40, 3)) + shift).astype(np.float32)


def test_no_patient_and_no_seed_is_in_both_halves(reference: Side) -> None:
    for one, other in draw_halves(reference, "video", 40, 5, 7):
        assert sorted([*one.made, *other.made]) == list(range(40))
        assert {len(part) for half in (one, other) for part in half} == {20}
        assert not set(reference.groups[one.real]) & set(reference.groups[other.real])


def test_splits_are_drawn_by_the_seed(reference: Side) -> None:
    drawn = {seed: draw_halves(reference, "frame", 40, 2, seed) for seed in (7, 8)}
    assert np.array_equal(drawn[7][1][0].made, drawn[8][0][0].made)  # the splits of 7, 8, ...
    assert not np.array_equal(drawn[7][0][0].made, drawn[7][1][0].made)
    assert not np.array_equal(drawn[7][0][0].real, drawn[7][1][0].real)


def test_distances_are_of_the_halves(reference: Side) -> None:
    splits = Splits(reference, draw_halves(reference, "video", 40, 3, 0))
    images = made(1)
    found, floor = splits.distances(images), splits.floor()
    assert found.shape == (3, 2)
    for s, pair in enumerate(splits.halves):
        for h, half in enumerate(pair):
            by_hand = distance_of(images[half.made], reference.features[half.real])
            assert found[s, h] == pytest.approx(by_hand)
        real = [reference.features[half.real] for half in pair]
        assert floor[s] == pytest.approx(distance_of(*real))


def test_of_real_distances_the_nearest_epoch_is_chosen(reference: Side) -> None:
    """Epochs of one distribution leak; one that is nearer than all others does not."""
    splits = Splits(reference, draw_halves(reference, "video", 40, 4, 0))
    alike = np.stack([splits.distances(made(i, 1.0)) for i in range(8)])
    near = np.stack([*alike, splits.distances(made(8))])
    assert choice(alike).leak.mean() > 0
    assert choice(near).epoch == 9
    assert choice(near).leak.mean() == 0
