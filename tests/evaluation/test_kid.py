"""KID against closed forms and torchmetrics, and its interval against many repetitions."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from echosweep.data.store import Preparation, Video
from echosweep.data.writer import write_store
from echosweep.evaluation.kid import (
    SUBSET_SIZE,
    SUBSETS,
    kernel,
    measure_kid,
    witness,
)
from echosweep.evaluation.sets import Side


class Sides:
    """Makes sides of given features, whose images lie in videos of `each` frames."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0

    def __call__(self, features: NDArray[np.float64], each: int = 1) -> Side:
        assert len(features) % each == 0
        self._count += 1
        frames = np.zeros((each, 2, 2), np.uint8)
        videos = [(Video(f"v{i}"), frames) for i in range(len(features) // each)]
        store = write_store(self._folder / f"store-{self._count}", Preparation((2, 2)), videos)
        return Side(store, store.rows(), features.astype(np.float32))


@pytest.fixture
def sides(tmp_path: Path) -> Sides:
    return Sides(tmp_path)


def videos(draw: np.random.Generator, count: int, each: int, mean: float = 0.0) -> np.ndarray:
    """Features (count * each, 8) of variance 1 of which 70 % is between videos."""
    centres = draw.normal(size=(count, 1, 8)) * 0.7**0.5
    return (mean + centres + draw.normal(size=(count, each, 8)) * 0.3**0.5).reshape(-1, 8)


def true_kid(mean: float, dims: int = 8) -> float:
    """The KID of N(mean, I) from N(0, I): the kernel is a sum over moments of order 1 to 3."""
    m, eye = np.full(dims, mean), np.eye(dims)
    third = np.einsum("i,j,k->ijk", m, m, m) + sum(
        np.einsum(f"i,jk->{axes}", m, eye) for axes in ("ijk", "jik", "jki")
    )
    moments = (m, np.outer(m, m), third)
    return sum(
        c / dims**k * (moment**2).sum()
        for k, c, moment in zip((1, 2, 3), (3, 3, 1), moments, strict=True)
    )


def test_equals_torchmetrics(sides: Sides, golden: Path):
    for case in json.loads((golden / "kid.json").read_text())["cases"].values():
        n, d = case["n"], case["d"]
        draw = np.random.default_rng([n, d])
        x, y = draw.normal(size=(n, d)), draw.normal(case["shift"], case["scale"], size=(n, d))
        result = measure_kid(sides(x), sides(y), seed=0)
        assert result.values["kid"] == pytest.approx(case["kid"], abs=1e-9)
        assert "kid_std" not in result.values  # of one subset
        assert result.details == {"subsets": 1, "subset_size": n}


def test_two_points_each_in_closed_form(sides: Sides):
    """D = 1, x = {1, -1}, y = {2, 0}: k(1, -1) = 0, k(2, 0) = 1, mean k(x, y) = 28 / 4."""
    x, y = np.array([[1.0], [-1.0]]), np.array([[2.0], [0.0]])
    assert measure_kid(sides(x), sides(y), seed=0).values["kid"] == pytest.approx(0 + 1 - 2 * 7)


def test_a_video_s_own_pairs_are_left_out_in_closed_form(sides: Sides):
    """Videos {1, 1} and {-1, -1}: all pairs give (4 * 8 + 8 * 0) / 12, pairs of two videos 0."""
    x, y = np.array([[1.0], [1.0], [-1.0], [-1.0]]), np.zeros((4, 1))
    result = measure_kid(sides(x, each=2), sides(y), seed=0)
    assert result.values["kid"] == pytest.approx(8 / 3 + 1 - 2)
    assert result.values["kid_between"] == pytest.approx(0 + 1 - 2)
    assert "judge by kid_between" in result.notes[0]
    assert "one side has 2 patients or videos" in result.notes[1]


def test_the_kernel_is_the_cubic_of_the_paper():
    np.testing.assert_allclose(kernel(np.array([[1.0, 3.0]]), np.array([[2.0, 4.0]])), [[8.0**3]])


@given(st.integers(0, 10_000), st.integers(2, 20), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_witnesses_sum_to_the_definition(seed: int, n: int, dims: int):
    draw = np.random.default_rng(seed)
    x, y = draw.normal(size=(n, dims)), draw.normal(1, 1, size=(n, dims))
    total = 0.0
    for i in range(n):
        for j in range(n):
            within = kernel(x[i : i + 1], x[j : j + 1]) + kernel(y[i : i + 1], y[j : j + 1])
            total += within.item() / (n * (n - 1)) if i != j else 0
            total -= 2 * kernel(x[i : i + 1], y[j : j + 1]).item() / n**2
    across, alone = kernel(x, y), np.arange(n)
    found = (
        witness(kernel(x, x), across, alone).mean() + witness(kernel(y, y), across.T, alone).mean()
    )
    assert found == pytest.approx(total, rel=1e-9, abs=1e-9)


def test_swapping_the_sides_changes_nothing(sides: Sides):
    draw = np.random.default_rng(3)
    a, b = sides(videos(draw, 10, 5), each=5), sides(videos(draw, 50, 1, 0.5))
    there, back = measure_kid(a, b, seed=0), measure_kid(b, a, seed=0)
    assert there.values == pytest.approx(back.values, rel=1e-9)
    assert there.intervals["kid_between"] == pytest.approx(back.intervals["kid_between"], rel=1e-9)


def test_it_is_a_function_of_the_seed_alone(sides: Sides):
    draw = np.random.default_rng(4)
    a, b = sides(draw.normal(size=(40, 8))), sides(draw.normal(size=(90, 8)))
    first = measure_kid(a, b, seed=1)
    assert first.details == {"subsets": SUBSETS, "subset_size": 40}
    assert measure_kid(a, b, seed=1) == first
    assert measure_kid(a, b, seed=2).values["kid"] != first.values["kid"]
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert measure_kid(a, b, seed=1).values == pytest.approx(first.values, rel=1e-9)
    finally:
        torch.set_num_threads(threads)


def test_large_sides_are_compared_by_subsets_of_a_thousand(sides: Sides):
    """Every subset is unbiased, so their mean is near the estimate from all images at once."""
    draw = np.random.default_rng(5)
    x, y = draw.normal(size=(1500, 4)), draw.normal(0.4, 1, size=(1200, 4))
    result = measure_kid(sides(x), sides(y), seed=0)
    assert result.details["subset_size"] == SUBSET_SIZE
    x, y = x.astype(np.float32).astype(float), y.astype(np.float32).astype(float)
    across = kernel(x, y)
    whole = witness(kernel(x, x), across, np.arange(1500)).mean()
    whole += witness(kernel(y, y), across.T, np.arange(1200)).mean()
    assert result.values["kid"] == pytest.approx(whole, abs=4 * result.values["kid_std"] / 10)
    low, high = result.intervals["kid_between"]
    assert low < true_kid(0.4, 4) < high


def test_one_video_on_a_side_has_no_interval(sides: Sides):
    draw = np.random.default_rng(6)
    result = measure_kid(sides(draw.normal(size=(30, 8))), sides(videos(draw, 1, 30), 30), seed=0)
    assert set(result.values) == {"kid"}
    assert np.isfinite(result.values["kid"])
    assert result.intervals == {}
    assert "one patient or video" in result.notes[0]


def test_real_frames_of_a_clip_are_dependent(sides: Sides, lung: NDArray[np.uint8]):
    """Three clips of a patient against three others, by their pixels; and against noise."""
    pixels = lung[:, ::8, ::8].reshape(48, -1) / 64.0
    noise = np.random.default_rng(8).uniform(0, 4, size=(24, pixels.shape[1]))
    reference = sides(pixels[:24], each=8)
    others = measure_kid(sides(pixels[24:], each=8), reference, seed=0)
    assert others.values["kid_between"] < others.values["kid"]
    low, high = others.intervals["kid_between"]
    assert low < 0 < high
    assert measure_kid(sides(noise), reference, seed=0).intervals["kid_between"][0] > high


@pytest.mark.parametrize(("mean", "least", "most"), [(0.0, 0.95, 0.999), (0.5, 0.92, 0.97)])
def test_no_bias_and_an_interval_that_holds_what_it_says(
    sides: Sides, mean: float, least: float, most: float
):
    """400 repetitions of 100 independent images against 20 videos of 5, the truth in closed form.

    kid_between is right on average and its interval holds the truth in 95 of 100, in more where
    both distributions are one; kid, which takes frames for independent, is too high.
    """
    draw, truth = np.random.default_rng(7), true_kid(mean)
    alone, framed = sides(np.zeros((100, 8))), sides(np.zeros((100, 8)), each=5)
    kid, between, held = np.empty((3, 400))
    for i in range(400):
        generated = replace(alone, features=draw.normal(mean, 1, size=(100, 8)))
        reference = replace(framed, features=videos(draw, 20, 5))
        result = measure_kid(generated, reference, seed=0)
        kid[i], between[i] = result.values["kid"], result.values["kid_between"]
        low, high = result.intervals["kid_between"]
        held[i] = low < truth < high
    error = between.std() / 20
    assert abs(between.mean() - truth) < 3 * error
    assert kid.mean() - truth > 5 * error
    assert least < held.mean() < most
