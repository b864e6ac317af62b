"""Denoisers known in closed form."""

from dataclasses import dataclass

import pytest
import torch


@dataclass
class Gaussian:
    """The ideal denoiser of N(mean, s^2): D = (s^2 x + sigma^2 mean) / (s^2 + sigma^2)."""

    s: float = 0.5
    mean: float = 0.0
    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def round_sigma(self, sigma):
        return sigma

    def __call__(self, x, sigma, labels=None):
        assert sigma.shape == (len(x),)
        variance = sigma.reshape(-1, 1, 1, 1) ** 2
        return (self.s**2 * x + self.mean * variance) / (self.s**2 + variance)


@pytest.fixture
def gaussian():
    return Gaussian


@pytest.fixture
def cosine():
    """The latents of the golden files."""
    i = torch.arange(16, dtype=torch.float64)
    return (0.013 * i + 0.1).cos().reshape(1, 1, 4, 4)
