"""The Fréchet distance against closed forms, and statistics that merge exactly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg

from echosweep.evaluation.fid import (
    Statistics,
    distance_of,
    distances_by_count,
    frechet_distance,
    statistics,
)


def gaussian(mean: np.ndarray, cov: np.ndarray) -> Statistics:
    return Statistics(1001, np.asarray(mean, float), np.asarray(cov, float) * 1000)


def rotation(dims: int, seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(dims, dims)))[0]


def test_one_dimension_in_closed_form():
    a, b = (
        gaussian(np.array([1.0]), np.array([[4.0]])),
        gaussian(np.array([4.0]), np.array([[9.0]])),
    )
    assert frechet_distance(a, b) == pytest.approx(3**2 + (3 - 2) ** 2, abs=1e-10)


def test_commuting_covariances_in_closed_form():
    q, s, t = rotation(20, 0), np.linspace(0.1, 3, 20), np.linspace(5, 0.2, 20)
    a = gaussian(np.zeros(20), q @ np.diag(s**2) @ q.T)
    b = gaussian(np.full(20, 0.5), q @ np.diag(t**2) @ q.T)
    expected = 20 * 0.25 + ((s - t) ** 2).sum()
    assert frechet_distance(a, b) == pytest.approx(expected, abs=1e-8)


def test_covariances_that_do_not_commute_in_two_dimensions():
    """In 2-D, Tr (S S')^(1/2) = sqrt(Tr S S' + 2 sqrt(det S S'))."""
    a = np.array([[2.0, 0.7], [0.7, 1.0]])
    b = np.array([[1.0, -0.4], [-0.4, 3.0]])
    product = a @ b
    root = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    expected = np.trace(a) + np.trace(b) - 2 * root
    zero = np.zeros(2)
    assert frechet_distance(gaussian(zero, a), gaussian(zero, b)) == pytest.approx(
        expected, abs=1e-8
    )


def test_agrees_with_the_eigenvalues_of_the_product():
    """The definition by eigenvalues of S S' itself, as torch-fidelity computes it."""
    draw = np.random.default_rng(1)
    mix = draw.normal(size=(30, 30)) / 5
    a, b = (
        Statistics.of(draw.normal(size=(200, 30))),
        Statistics.of(draw.normal(size=(200, 30)) @ mix),
    )
    roots = np.sqrt(np.linalg.eigvals(a.cov @ b.cov).astype(complex)).real.sum()
    expected = ((a.mean - b.mean) ** 2).sum() + np.trace(a.cov) + np.trace(b.cov) - 2 * roots
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)


def test_agrees_with_scipy_s_matrix_root():
    """Heusel et al. 2017 as written, correlated features of very different scales."""
    draw = np.random.default_rng(3)
    mix = draw.normal(size=(96, 96)) * np.logspace(0, -2, 96)
    a = Statistics.of(draw.normal(size=(500, 96)) @ mix)
    b = Statistics.of(draw.normal(0.1, 1.3, size=(400, 96)) @ mix)
    root = np.trace(linalg.sqrtm(a.cov @ b.cov).real)
    expected = ((a.mean - b.mean) ** 2).sum() + np.trace(a.cov) + np.trace(b.cov) - 2 * root
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", ["constant", "repeated"])
def test_features_without_information_change_nothing(kind: str):
    draw = np.random.default_rng(4)
    x, y = draw.normal(size=(100, 12)), draw.normal(0.2, 1.1, size=(90, 12))
    plain = frechet_distance(Statistics.of(x), Statistics.of(y))
    more = [np.hstack([z, z if kind == "repeated" else np.full((len(z), 3), 2.5)]) for z in (x, y)]
    times = 2 if kind == "repeated" else 1  # a feature that is there twice counts twice
    found = frechet_distance(*map(Statistics.of, more))
    assert found == pytest.approx(times * plain, rel=1e-7)


@pytest.mark.parametrize(
    ("n", "m", "dims"), [(10, 12, 30), (10, 50, 30), (50, 12, 30), (60, 50, 30)]
)
def test_few_images_and_many_give_one_value(n: int, m: int, dims: int):
    """The thin product, the factor and the roots of singular covariances are the same distance."""
    draw = np.random.default_rng(5)
    x, y = draw.normal(size=(n, dims)), draw.normal(0.3, 2, size=(m, dims))
    expected = frechet_distance(Statistics.of(x), Statistics.of(y))
    assert distance_of(x.astype("f4"), y.astype("f4")) == pytest.approx(expected, rel=1e-5)


def test_long_features_are_read_in_shards_and_give_the_whole():
    draw = np.random.default_rng(6)
    x, y = draw.normal(size=(9001, 3)).astype("f4"), draw.normal(1, 2, (5000, 3)).astype("f4")
    whole = [Statistics.of(z) for z in (x, y)]
    assert distance_of(x, y) == pytest.approx(frechet_distance(*whole), rel=1e-10)


def test_the_distance_by_count_is_that_of_the_first_images():
    draw = np.random.default_rng(7)
    x, y = draw.normal(size=(300, 8)).astype("f4"), draw.normal(1, 2, (300, 8)).astype("f4")
    counts = [5, 8, 20, 100, 300]
    expected = [distance_of(x[:n], y[:n]) for n in counts]
    assert distances_by_count(x, y, counts) == pytest.approx(expected, rel=1e-9)


def test_rank_deficient_sets_in_closed_form():
    """Five points on each of two orthogonal axes: no image of one set lies in the other's span."""
    line = np.arange(5.0) - 2
    a, b = np.zeros((5, 50)), np.zeros((5, 50))
    a[:, 3], b[:, 7] = line, 2 * line
    variance = line.var(ddof=1)
    distance = frechet_distance(Statistics.of(a), Statistics.of(b))
    assert distance == pytest.approx(variance + 4 * variance, abs=1e-8)


@pytest.mark.parametrize("n", [10, 500])
def test_a_set_has_no_distance_from_itself(n: int):
    a = Statistics.of(np.random.default_rng(2).normal(size=(n, 64)) * 10)
    assert frechet_distance(a, a) < 1e-6


def test_identical_images_have_no_covariance_and_no_distance():
    a = Statistics.of(np.full((4, 8), 3.0))
    assert frechet_distance(a, a) == 0
    assert frechet_distance(a, gaussian(np.full(8, 3.0), np.eye(8))) == pytest.approx(8, abs=1e-8)


@given(st.integers(0, 10_000), st.integers(3, 40), st.integers(3, 40))
@settings(max_examples=30, deadline=None)
def test_symmetric_and_not_negative(seed: int, n: int, m: int):
    draw = np.random.default_rng(seed)
    a, b = Statistics.of(draw.normal(size=(n, 12))), Statistics.of(draw.normal(1, 2, size=(m, 12)))
    distance = frechet_distance(a, b)
    assert distance > 0
    assert distance == pytest.approx(frechet_distance(b, a), rel=1e-9)


@given(st.integers(0, 10_000), st.lists(st.integers(1, 20), min_size=1, max_size=6))
@settings(max_examples=50, deadline=None)
def test_shards_merge_to_the_whole(seed: int, sizes: list[int]):
    """Float32 features far from zero, where a sum of squares would lose every digit."""
    x = np.random.default_rng(seed).normal(1e4, 1, size=(sum(sizes), 5)).astype(np.float32)
    whole = x.astype(np.float64)
    merged = statistics(np.split(x, np.cumsum(sizes)[:-1]))
    assert merged.n == len(x)
    np.testing.assert_allclose(merged.mean, whole.mean(axis=0), rtol=1e-13)
    if len(x) > 1:
        np.testing.assert_allclose(merged.cov, np.cov(whole, rowvar=False), rtol=1e-8, atol=1e-9)
