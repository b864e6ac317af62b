"""The interval of the distance: exact derivatives, and the spread that redrawing really has."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from echosweep.data.store import Preparation, Video
from echosweep.data.writer import write_store
from echosweep.evaluation.fid import Statistics, distance_of, frechet_distance
from echosweep.evaluation.influence import _by_features, _by_products, influences, standard_error
from echosweep.evaluation.sets import Side

Floats = NDArray[np.float64]


def weighted(x: Floats, weights: Floats) -> Statistics:
    """Statistics under weights; equal weights give exactly those of the images."""
    share = weights / weights.sum()
    mean = share @ x
    centred = x - mean
    return Statistics(len(x), mean, (centred * share[:, None]).T @ centred * len(x))


def draws(seed: int, n: int, dims: int, shift: float = 0.3) -> tuple[Floats, Floats]:
    draw = np.random.default_rng(seed)
    scale = np.logspace(0, -1, dims)
    return draw.normal(shift, 1.2, (n, dims)) * scale, draw.normal(size=(n + 7, dims)) * scale


@pytest.mark.parametrize("side", [0, 1])
def test_it_is_the_derivative_by_an_image_s_weight(side: int) -> None:
    x = draws(0, 400, 6)
    found = influences(*x)
    assert found is not None
    for image in (3, 77):
        values = []
        for change in (-1e-4, 1e-4):
            weights = [np.ones(len(one)) for one in x]
            weights[side][image] += change
            values.append(
                frechet_distance(*(weighted(one, w) for one, w in zip(x, weights, strict=True)))
            )
        slope = (values[1] - values[0]) / 2e-4 * len(x[side])
        assert found[side][image] == pytest.approx(slope, rel=0.01, abs=0.02)


def test_both_forms_agree() -> None:
    x, y = draws(1, 60, 12)
    one, other = _by_products(x, y), _by_features(x, y)
    assert other is not None
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-8)
        assert abs(a.mean()) < 1e-12


def test_features_that_never_change_or_repeat_others() -> None:
    x, y = draws(2, 60, 12)
    plain = influences(x, y)
    constant = [np.hstack([a, np.full((len(a), 1), 3.0)]) for a in (x, y)]
    with_constant = influences(*constant)
    assert plain is not None
    assert with_constant is not None
    np.testing.assert_allclose(with_constant[0], plain[0], atol=1e-7)
    np.testing.assert_allclose(with_constant[1], plain[1], atol=1e-7)
    assert influences(np.hstack([x, x]), np.hstack([y, y])) is None


def test_order_of_arguments() -> None:
    x, y = draws(3, 50, 8)
    there, back = influences(x, y), influences(y, x)
    assert there is not None
    assert back is not None
    np.testing.assert_allclose(there[0], back[1], atol=1e-8)


@pytest.fixture
def sides(tmp_path: Any) -> Any:
    """Make a Side of given features, `per_video` images a video."""

    def make(name: str, features: Floats, per_video: int) -> Side:
        path = tmp_path / name
        if not path.exists():
            images = np.zeros((len(features), 4, 4), np.uint8)
            videos = [
                (Video(f"{i}"), images[i : i + per_video])
                for i in range(0, len(features), per_video)
            ]
            make.stores[name] = write_store(path, Preparation((4, 4)), videos)  # type: ignore[attr-defined]
        return Side(make.stores[name], np.arange(len(features)), features)  # type: ignore[attr-defined]

    make.stores = {}  # type: ignore[attr-defined]
    return make


@pytest.mark.parametrize(("dims", "n", "per_video"), [(8, 240, 1), (8, 240, 6), (40, 36, 1)])
def test_it_is_the_spread_of_redrawn_sets(dims: int, n: int, per_video: int, sides: Any) -> None:
    """Never below the true standard deviation of 200 redraws by more than its own noise; and at
    most a half above it: it errs on the large side where images are few.
    """
    draw, values, errors = np.random.default_rng(4), [], []
    scale = np.logspace(0, -1, dims)

    def clustered(shift: float) -> Floats:
        centres = np.repeat(draw.normal(size=(n // per_video, dims)), per_video, axis=0)
        own = draw.normal(size=(n, dims))
        mixed = own if per_video == 1 else 0.8 * centres + 0.6 * own
        return (mixed + shift) * scale

    for _ in range(200):
        x, y = clustered(0.4), clustered(0.0)
        values.append(distance_of(x, y))
        errors.append(standard_error(sides("x", x, per_video), sides("y", y, per_video)))
    ratio = np.mean(errors) / np.std(values, ddof=1)
    assert 0.9 < ratio < 1.5


def test_frames_of_one_video_are_not_independent(sides: Any) -> None:
    x, y = draws(5, 240, 8)
    repeated = np.repeat(x[:40], 6, axis=0) + np.random.default_rng(0).normal(0, 0.1, (240, 8))
    by_frame = standard_error(sides("a", repeated, 1), sides("b", y, 1))
    by_video = standard_error(sides("c", repeated, 6), sides("b", y, 1))
    assert by_frame is not None
    assert by_video is not None
    assert by_video > 1.5 * by_frame


def test_one_video_has_no_interval(sides: Any) -> None:
    x, y = draws(6, 30, 4)
    assert standard_error(sides("one", x, 30), sides("many", y, 1)) is None
