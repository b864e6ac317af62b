"""Preconditioning, training noise and the loss against their closed forms."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from echosweep import rng
from echosweep.diffusion import FRAMEWORKS, Denoiser, denoising_loss
from echosweep.diffusion.frameworks import EDM, IDDPM, VE, VP
from echosweep.errors import UsageError


class Zero(nn.Module):
    """F = 0: with EDM's factors, the ideal denoiser of N(0, sigma_data^2)."""

    in_channels, label_dim, resolution = 1, 0, (32, 32)

    def __init__(self, out_channels=1, value=0.0):
        super().__init__()
        self.out_channels, self.value, self.seen = out_channels, value, None

    def forward(self, x, c_noise, labels=None):
        self.seen = x, c_noise
        return torch.full((len(x), self.out_channels, *x.shape[2:]), self.value)


def factors(framework, sigma, sigma_data=0.5):
    found = framework.precondition(torch.tensor([sigma], dtype=torch.float64), sigma_data)
    return [float(factor) for factor in found]


@pytest.mark.parametrize("s", [0.003, 0.5, 3.0, 70.0])
def test_factors_are_those_of_the_table(s):
    sd = 0.6
    root = math.sqrt(s**2 + sd**2)
    assert factors(EDM, s, sd) == pytest.approx(
        [sd**2 / root**2, s * sd / root, 1 / root, math.log(s) / 4]
    )
    tau = (-0.1 + math.sqrt(0.01 + 39.8 * math.log(1 + s**2))) / 19.9
    assert factors(VP, s) == pytest.approx([1, -s, 1 / math.sqrt(s**2 + 1), 999 * tau])
    assert factors(VE, s) == pytest.approx([1, s, 1, math.log(s / 2)])
    assert factors(IDDPM, s)[:3] == pytest.approx([1, -s, 1 / math.sqrt(s**2 + 1)])


def test_iddpm_counts_levels_from_below():
    u = IDDPM.round_sigma(torch.tensor([1e9, 0.0]).double())
    assert factors(IDDPM, float(u[0]))[3] == 999
    assert factors(IDDPM, float(u[1]))[3] == 0
    assert factors(IDDPM, 1.0123889446)[3] == 499  # u_500


def test_ranges(golden: Path):
    expected = json.loads((golden / "samplers.json").read_text())
    for row, name in ((VP, "vp"), (VE, "ve")):
        assert [row.sigma_min, row.sigma_max] == pytest.approx(expected["sigma_range"][name])
    u = expected["iddpm_u"]
    ends = [u["sigma_min"], u["sigma_max"]]
    assert [IDDPM.sigma_min, IDDPM.sigma_max] == pytest.approx(ends, rel=1e-6)
    assert (EDM.sigma_min, EDM.sigma_max) == (0.002, 80.0)


def test_settings_of_a_framework():
    shifted = EDM.configure(P_mean=0.4)
    assert shifted.settings == {"P_mean": 0.4, "P_std": 1.2}
    draw = [row.sample_sigma(rng.generator(0), 1000) for row in (EDM, shifted)]
    torch.testing.assert_close(draw[1] / draw[0], torch.full((1000,), math.exp(1.6)))
    with pytest.raises(UsageError, match="'ve' has no P_mean; it has: none"):
        VE.configure(P_mean=0.0)


N = 20_000


def quantiles(row):
    """The level of a draw as a number that should be uniform on [0, 1]."""
    sigma = row.sample_sigma(rng.generator("sigma", row.name), N).double()
    if row is EDM:
        return torch.special.ndtr((sigma.log() + 1.2) / 1.2)
    if row is VP:
        log = (1 + sigma**2).log()
        return ((-0.1 + (0.01 + 39.8 * log).sqrt()) / 19.9 - 1e-5) / (1 - 1e-5)
    if row is VE:
        return (sigma / 0.02).log() / math.log(5000)
    return (IDDPM.precondition(sigma, 0.5).c_noise + 0.5) / 1000


@pytest.mark.parametrize("row", FRAMEWORKS.values(), ids=FRAMEWORKS)
def test_training_levels_have_the_stated_distribution(row):
    """Kolmogorov-Smirnov distance below 1.95 / sqrt(N): 1 in 1000 by chance, and seeded."""
    u = quantiles(row).sort().values
    expected = (torch.arange(N) + 0.5) / N
    assert float((u - expected).abs().max()) < 1.95 / math.sqrt(N) + 1e-3 * (row is IDDPM)


@pytest.mark.parametrize("sigma", [0.002, 0.05, 0.5, 3.0, 80.0])
def test_edm_loss_of_the_ideal_gaussian_denoiser_is_one(sigma):
    """Each pixel's weighted square error is chi-squared with mean 1 and variance 2."""
    for sigma_data in (0.5, 0.25):
        denoiser = Denoiser(Zero(), EDM, sigma_data)
        y = sigma_data * torch.randn(64, 1, 32, 32, generator=rng.generator("y"))
        noise = torch.randn(y.shape, generator=rng.generator("n"))
        loss = denoising_loss(denoiser, y, torch.full((64,), sigma), noise) / 1024
        assert float(loss.mean()) == pytest.approx(1, abs=4 * math.sqrt(2 / y.numel()))


@pytest.mark.parametrize("row", [VP, VE, IDDPM], ids=lambda row: row.name)
def test_loss_of_no_prediction_is_the_noise(row):
    """c_skip = 1 and F = 0: D = x, so w (D - y)^2 = n^2 exactly."""
    denoiser = Denoiser(Zero(row.out_channel_factor), row)
    y = torch.zeros(5, 1, 32, 32)
    sigma, noise = denoiser.draw_noise(y, rng.generator("draw"))
    loss = denoising_loss(denoiser, y, sigma, noise)
    torch.testing.assert_close(loss, noise.square().sum(dim=(1, 2, 3)))


def test_noise_is_a_function_of_the_generator():
    denoiser, y = Denoiser(Zero(), EDM), torch.zeros(3, 1, 32, 32)
    first, again, other = (denoiser.draw_noise(y, rng.generator(s)) for s in (1, 1, 2))
    state = torch.get_rng_state()
    assert torch.equal(first.sigma, again.sigma)
    assert torch.equal(first.noise, again.noise)
    assert not torch.equal(first.noise, other.noise)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_denoiser_applies_the_factors(dtype):
    network = Zero(value=2.0)
    denoiser = Denoiser(network, EDM, sigma_data=0.6)
    x = torch.randn(2, 1, 32, 32, generator=rng.generator("x")).to(dtype)
    D = denoiser(x, torch.tensor([0.5, 3.0], dtype=dtype))
    seen, c_noise = network.seen
    assert seen.dtype == c_noise.dtype == torch.float32
    assert D.dtype == dtype
    for i, s in enumerate((0.5, 3.0)):
        c_skip, c_out, c_in, level = factors(EDM, s, 0.6)
        torch.testing.assert_close(D[i], c_skip * x[i] + 2 * c_out)
        torch.testing.assert_close(seen[i], (c_in * x[i]).float())
        assert float(c_noise[i]) == pytest.approx(level)


def test_sigma_may_be_one_number():
    denoiser, x = Denoiser(Zero(value=1.0), VP), torch.ones(3, 1, 32, 32)
    assert torch.equal(denoiser(x, 0.7), denoiser(x, torch.full((3,), 0.7)))
    assert torch.equal(denoiser(x, torch.tensor(0.7)), denoiser(x, 0.7))


def test_iddpm_uses_the_first_channels():
    class Two(Zero):
        def forward(self, x, c_noise, labels=None):
            return torch.cat([torch.ones_like(x), torch.full_like(x, 9.0)], dim=1)

    D = Denoiser(Two(2), IDDPM)(torch.zeros(1, 1, 32, 32), 2.0)
    assert torch.equal(D, torch.full_like(D, -2.0))


def test_combination_is_float32_under_autocast():
    denoiser, x = Denoiser(Zero(value=1 / 3), EDM), torch.full((1, 1, 32, 32), 0.1)
    with torch.autocast("cpu", torch.bfloat16):
        half = denoiser(x, 0.01)
    assert half.dtype == torch.float32
    assert torch.equal(half, denoiser(x, 0.01))
