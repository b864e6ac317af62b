from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from echosweep.training import checkpoint
from echosweep.training.ema import update_ema
from echosweep.training.posthoc_ema import (
    LENGTHS,
    Profile,
    combine,
    mix,
    overlap,
    power,
    power_beta,
    stored_tracks,
    track_name,
    track_path,
)

lengths = st.floats(0.005, 0.25)


def evenly(points: int, end: float = 1.0) -> list[Profile]:
    return [
        Profile(end * (i + 1) / points, length) for i, length in product(range(points), LENGTHS)
    ]


def step_weights(steps: int, length: float) -> np.ndarray:
    """How much each step counts: the integral of the profile over it, in closed form."""
    edges = np.linspace(0, 1, steps + 1)
    return np.diff(edges ** (power(length) + 1))


def test_the_powers_are_those_of_the_paper() -> None:
    assert power(0.05) == pytest.approx(16.97, abs=5e-3)
    assert power(0.10) == pytest.approx(6.94, abs=5e-3)


@given(lengths)
def test_the_length_is_the_standard_deviation_of_the_profile(length: float) -> None:
    quantiles = ((np.arange(20_000) + 0.5) / 20_000) ** (1 / (power(length) + 1))
    assert quantiles.std() == pytest.approx(length, rel=2e-3)


@pytest.mark.parametrize("length", [0.03, *LENGTHS, 0.25])
@pytest.mark.parametrize("degree", [0, 1, 3])
def test_the_average_is_the_integral_over_weights_constant_in_a_step(
    length: float, degree: int
) -> None:
    """For a polynomial of t it tends to (gamma+1) / (gamma+1+degree) t^degree."""
    steps, batch = 1000, 8
    path = (np.arange(1, steps + 1) / steps) ** degree
    average = [torch.full((1,), 99.0, dtype=torch.float64)]  # the first step leaves nothing of it
    for i, value in enumerate(path):
        weights = [torch.tensor([value], dtype=torch.float64)]
        update_ema(average, weights, power_beta((i + 1) * batch, batch, length))
    assert float(average[0]) == pytest.approx(path @ step_weights(steps, length), rel=1e-12)
    exact = (power(length) + 1) / (power(length) + 1 + degree)
    assert float(average[0]) == pytest.approx(exact, rel=degree / steps + 1e-12)


@given(st.floats(0.2, 2), lengths, st.floats(0.2, 2), lengths)
def test_overlap_is_the_integral_of_the_product(s: float, a: float, t: float, b: float) -> None:
    one, other = Profile(s, a), Profile(t, b)
    edges = np.linspace(0, min(s, t), 20_001)
    tau = (edges[1:] + edges[:-1]) / 2
    p, q = ((power(a) + 1) * tau ** power(a) / s ** (power(a) + 1) for s, a in (one, other))
    assert overlap(one, other) == pytest.approx((p * q).sum() * edges[1], rel=1e-3)
    assert overlap(one, other) == overlap(other, one)


@pytest.mark.parametrize("length", LENGTHS)
def test_what_is_stored_is_given_back(length: float) -> None:
    stored = evenly(20, end=480.0)
    made = mix(stored, Profile(480.0, length))
    wanted = [float(p == (480.0, length)) for p in stored]
    assert made.factors == pytest.approx(wanted, abs=1e-6)
    assert made.error < 1e-6


@given(st.lists(st.integers(1, 10**8), min_size=1, max_size=40, unique=True), st.floats(0.01, 0.25))
def test_factors_add_up_to_one_wherever_the_points_are(points: list[int], length: float) -> None:
    stored = [Profile(nimg, kept) for nimg in points for kept in LENGTHS]
    made = mix(stored, Profile(max(points), length))
    assert sum(made.factors) == pytest.approx(1, abs=1e-7)


@given(lengths, st.integers(2, 40), st.integers(0, 6))
def test_the_error_bounds_that_of_a_polynomial(length: float, points: int, degree: int) -> None:
    """Cauchy and Schwarz: |<sum - p, theta>| <= |sum - p| |theta|."""
    wanted, stored = Profile(1.0, length), evenly(points)
    made = mix(stored, wanted)

    def average(p: Profile) -> float:
        return (power(p.length) + 1) / (power(p.length) + 1 + degree) * p.nimg**degree

    found = sum(x * average(p) for x, p in zip(made.factors, stored, strict=True))
    bound = made.error * (overlap(wanted, wanted) / (2 * degree + 1)) ** 0.5
    assert abs(found - average(wanted)) <= bound + 1e-7


@pytest.mark.parametrize("length", [0.02, 0.03, 0.07, 0.15, 0.2, 0.25])
def test_more_points_leave_a_smaller_error(length: float) -> None:
    errors = [mix(evenly(points), Profile(1.0, length)).error for points in (5, 10, 20, 40)]
    assert errors == sorted(errors, reverse=True)
    assert errors[2] < {0.02: 0.09, 0.25: 0.061}.get(length, 0.03)


def test_files_are_added_up_to_the_average_kept_directly(tmp_path: Path) -> None:
    """A random walk of weights, and a buffer that no step moves: it stays to the bit."""
    steps, points, length = 2000, 20, 0.15
    walk = np.cumsum(np.random.default_rng(0).normal(size=(steps, 50)), axis=0)
    buffer = torch.from_numpy(np.random.default_rng(1).normal(size=7)).float()
    for nimg in range(steps // points, steps + 1, steps // points):
        tensors = {}
        for kept in LENGTHS:
            average = torch.from_numpy(step_weights(nimg, kept) @ walk[:nimg])
            tensors[track_name(kept, "w")] = average.float()
            tensors[track_name(kept, "buffer")] = buffer.clone()
        checkpoint.save(track_path(tmp_path, nimg), tensors, {})
    stored = stored_tracks(tmp_path)
    assert len(stored) == points
    files = [track_path(tmp_path, nimg).with_suffix(".safetensors") for nimg in stored]
    found = combine(files, mix(evenly(points), Profile(1.0, length)).factors)
    direct = step_weights(steps, length) @ walk
    difference = np.linalg.norm(found["w"].numpy() - direct)
    assert difference < 2e-3 * np.linalg.norm(direct - walk[-1])
    assert torch.equal(found["buffer"], buffer)
