"""Every registered framework keeps the contract; registering is testing."""

import pytest
import torch

from echosweep import rng
from echosweep.diffusion import FRAMEWORKS
from echosweep.diffusion.frameworks import Preconditioning
from echosweep.diffusion.samplers import SAMPLERS, run

ROWS = pytest.mark.parametrize("row", FRAMEWORKS.values(), ids=FRAMEWORKS)


def levels(row, n=200):
    ends = torch.tensor([row.sigma_min, row.sigma_max], dtype=torch.float64).log()
    return torch.linspace(float(ends[0]), float(ends[1]), n, dtype=torch.float64).exp()


def test_names_are_the_keys():
    assert [row.name for row in FRAMEWORKS.values()] == list(FRAMEWORKS)


@ROWS
def test_factors_are_finite_over_the_range(row):
    for dtype in (torch.float32, torch.float64):
        sigma = levels(row).to(dtype)
        factors = row.precondition(sigma, 0.5)
        assert isinstance(factors, Preconditioning)
        for factor in (*factors, row.weight(sigma, 0.5)):
            assert factor.shape == sigma.shape
            assert factor.dtype == dtype
            assert factor.isfinite().all()


@ROWS
def test_weight_undoes_the_output_factor(row):
    """w c_out^2 = 1: the network's own error weighs the same at every noise level."""
    sigma = levels(row)
    effective = row.weight(sigma, 0.5) * row.precondition(sigma, 0.5).c_out ** 2
    torch.testing.assert_close(effective, torch.ones_like(sigma))


@ROWS
def test_no_noise_means_no_change(row):
    """As sigma falls D tends to x: c_skip to 1 and c_out to 0."""
    factors = row.precondition(torch.tensor([row.sigma_min], dtype=torch.float64), 0.5)
    assert float(factors.c_skip) == pytest.approx(1, abs=1e-4)
    assert float(factors.c_out.abs()) < 0.03


@ROWS
def test_c_noise_rises_with_the_noise(row):
    sigma = row.round_sigma(levels(row))
    c_noise = row.precondition(sigma, 0.5).c_noise
    assert (c_noise.diff()[sigma.diff() > 0] > 0).all()


@ROWS
def test_rounding_is_idempotent_and_stays_in_range(row):
    sigma = levels(row)
    rounded = row.round_sigma(sigma)
    assert rounded.shape == sigma.shape
    assert torch.equal(row.round_sigma(rounded), rounded)
    assert rounded.min() >= row.sigma_min * (1 - 1e-9)
    assert rounded.max() <= row.sigma_max * (1 + 1e-9)


@ROWS
def test_training_levels_come_from_the_generator(row):
    sigma = row.sample_sigma(rng.generator(0), 64)
    assert sigma.shape == (64,)
    assert sigma.dtype == torch.float32
    assert (sigma > 0).all()
    assert torch.equal(row.sample_sigma(rng.generator(0), 64), sigma)
    assert not torch.equal(row.sample_sigma(rng.generator(1), 64), sigma)


@ROWS
def test_its_own_sampler_draws_the_data(row):
    """On the ideal denoiser of N(0.1, 0.5^2), latents of exact unit spread end at that law."""

    class Ideal:
        sigma_min, sigma_max, round_sigma = (
            row.sigma_min,
            row.sigma_max,
            staticmethod(row.round_sigma),
        )

        def __call__(self, x, sigma, labels=None):
            variance = sigma.reshape(-1, 1, 1, 1) ** 2
            return (0.25 * x + 0.1 * variance) / (0.25 + variance)

    latents = torch.tensor([1.0, -1.0], dtype=torch.float64).reshape(1, 1, 1, 2)
    x = run(SAMPLERS["ode"](Ideal(), latents, num_steps=256, **row.ode._asdict()))
    assert float(x.mean()) == pytest.approx(0.1, abs=0.005)
    assert float(x.std(correction=0)) == pytest.approx(0.5, rel=0.01)
