"""Noise levels against their formulas and golden values."""

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from echosweep.diffusion import schedule
from echosweep.errors import UsageError


@pytest.mark.parametrize("num_steps", [18, 30])
def test_karras_grid_is_golden(num_steps, golden: Path):
    expected = json.loads((golden / "samplers.json").read_text())["t_steps"][str(num_steps)]
    found = schedule.make_grid("edm", num_steps, 0.002, 80.0).tolist()
    assert found == pytest.approx(expected, rel=1e-6)


def test_iddpm_levels_are_golden(golden: Path):
    expected = json.loads((golden / "samplers.json").read_text())["iddpm_u"]
    u = schedule.iddpm_sigmas()
    assert len(u) == 1000
    for j in (0, 1, 500, 999):
        assert float(u[j]) == pytest.approx(expected[f"u{j}"], rel=1e-6)


def test_vp_levels_are_golden(golden: Path):
    expected = json.loads((golden / "guidance.json").read_text())["sigma_at_tau"]
    for t, sigma in expected.items():
        found = schedule.vp_sigma(torch.tensor(float(t), dtype=torch.float64))
        assert float(found) == pytest.approx(sigma, rel=1e-9)
        assert float(schedule.vp_time(found)) == pytest.approx(float(t), rel=1e-9)


def test_vp_time_does_not_cancel_in_float32():
    t = torch.tensor([1e-5, 1e-4, 1e-3, 0.1, 1.0])
    torch.testing.assert_close(schedule.vp_time(schedule.vp_sigma(t)), t, rtol=5e-6, atol=0)


@given(
    st.sampled_from(["edm", "vp", "ve"]),
    st.integers(2, 200),
    st.floats(1e-3, 0.5),
    st.floats(2, 150),
    st.floats(1, 10),
)
def test_a_grid_falls_from_sigma_max_to_sigma_min(name, num_steps, low, high, rho):
    grid = schedule.make_grid(name, num_steps, low, high, rho)
    assert grid.dtype == torch.float64
    assert len(grid) == num_steps
    assert float(grid[0]) == pytest.approx(high, rel=1e-9)
    assert float(grid[-1]) == pytest.approx(low, rel=1e-6)
    if name != "vp" or low < 0.02:  # VP's betas are meant for a small sigma(1e-3)
        assert (grid.diff() < 0).all()


def test_grids_by_their_spacing():
    edm = schedule.make_grid("edm", 9, 0.002, 80, 7) ** (1 / 7)
    torch.testing.assert_close(edm.diff(), edm.diff()[:1].expand(8))
    ve = schedule.make_grid("ve", 9, 0.02, 100).log()
    torch.testing.assert_close(ve.diff(), ve.diff()[:1].expand(8))
    vp = schedule.vp_time(schedule.make_grid("vp", 9, *schedule.GRID_RANGES["vp"]))
    torch.testing.assert_close(vp, torch.linspace(1, 1e-3, 9).double(), rtol=1e-6, atol=1e-9)


def test_iddpm_grid_takes_its_own_levels_in_range():
    u = schedule.iddpm_sigmas()
    inside = u[(u >= 0.002) & (u <= 81)]
    assert torch.equal(schedule.make_grid("iddpm", len(inside), 0.002, 81), inside)
    three = schedule.make_grid("iddpm", 3, 0.002, 81)
    assert torch.equal(three, inside[[0, round((len(inside) - 1) / 2), -1]])
    with pytest.raises(UsageError, match="2000 steps are too many"):
        schedule.make_grid("iddpm", 2000, 0.002, 81)


@given(st.floats(0.0065, 20000))
def test_iddpm_rounding_is_to_the_nearest_and_once(sigma):
    u, rounded = schedule.iddpm_sigmas(), schedule.iddpm_round(torch.tensor(sigma).double())
    assert rounded in u
    assert abs(rounded - sigma) == (u - sigma).abs().min()
    assert torch.equal(schedule.iddpm_round(rounded), rounded)


def test_one_step_is_sigma_max():
    for name in schedule.GRIDS:
        assert len(schedule.make_grid(name, 1, 0.02, 80)) == 1
    assert float(schedule.make_grid("edm", 1, 0.02, 80)) == pytest.approx(80)


def test_range_is_clipped_to_the_denoiser():
    assert schedule.sigma_range(None, None, (0.02, 100)) == (0.02, 80)
    assert schedule.sigma_range(None, None, (0.0001, 50)) == (0.002, 50)
    assert schedule.sigma_range(0.01, 500, (0.02, 100)) == (0.02, 100)
    assert schedule.sigma_range(0.05, 10, (0.02, 100)) == (0.05, 10)
    for low, high in ((3, 2), (-1, math.nan), (1, 1)):
        with pytest.raises(UsageError, match=r"this denoiser takes 0\.02 to 100"):
            schedule.sigma_range(low, high, (0.02, 100))


def test_wrong_settings_are_refused():
    for num_steps, rho in ((0, 7.0), (-2, 7.0), (5, 0.0), (5, -1.0), (5, math.nan)):
        with pytest.raises(UsageError, match="both must be positive"):
            schedule.make_grid("edm", num_steps, 0.002, 80, rho)
    with pytest.raises(UsageError, match="'karras' is not known; choose from vp, ve, iddpm, edm"):
        schedule.make_grid("karras", 5, 0.002, 80)
    sigma = schedule.make_grid("edm", 5, 0.002, 80)
    with pytest.raises(UsageError, match="schedule 'cos'"):
        schedule.ode_coefficients(sigma, "cos", "none")
    with pytest.raises(UsageError, match="scaling 've'"):
        schedule.ode_coefficients(sigma, "vp", "ve")


@pytest.mark.parametrize("name", ["linear", "ve", "vp"])
@pytest.mark.parametrize("scaling", ["none", "vp"])
def test_coefficients_are_the_derivatives(name, scaling):
    """A = s'/s + a'/a and B = s' a / s, the derivatives taken numerically."""
    sigma = schedule.make_grid("edm", 20001, 0.1, 80)
    t, a, A, B = schedule.ode_coefficients(sigma, name, scaling)

    def rate(y):
        return (y[2:] - y[:-2]) / (t[2:] - t[:-2])

    middle, sigma_rate = slice(1, -1), rate(sigma)
    expected = sigma_rate / sigma[middle] + rate(a) / a[middle]
    torch.testing.assert_close(A[middle], expected, rtol=1e-4, atol=1e-6)
    expected = sigma_rate * a[middle] / sigma[middle]
    torch.testing.assert_close(B[middle], expected, rtol=1e-4, atol=1e-6)
