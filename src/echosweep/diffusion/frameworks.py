"""Training frameworks: EDM, VP, VE and iDDPM as rows of one table (Karras et al. 2022, table 1).

D(x; sigma) = c_skip x + c_out F(c_in x; c_noise). A framework chooses the four factors, the noise
levels that training draws, and the loss's weight. Invariant: a row holds functions and numbers, no
state; whatever trains or samples sees only the row.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from echosweep.diffusion import noise, schedule
from echosweep.errors import UsageError


class Preconditioning(NamedTuple):
    """The factors around a network, each of sigma's shape."""

    c_skip: Tensor
    c_out: Tensor
    c_in: Tensor
    c_noise: Tensor


class OdeSettings(NamedTuple):
    """A framework's own deterministic sampler: keywords of `samplers.ode`."""

    discretization: str
    schedule: str
    scaling: str


def identity(sigma: Tensor) -> Tensor:
    """Return sigma: every level is allowed."""
    return sigma


@dataclass(frozen=True)
class Framework:
    """One row.

    precondition, weight: functions of sigma (any shape) and sigma_data. draw_sigma: a function
    `(generator, n, **settings) -> float64 (n,)`. round_sigma: the nearest level that F was trained
    on. out_channel_factor: F's output channels for each channel of an image; D uses the first.
    """

    name: str
    precondition: Callable[[Tensor, float], Preconditioning]
    draw_sigma: Callable[..., Tensor]
    weight: Callable[[Tensor, float], Tensor]
    sigma_min: float
    sigma_max: float
    ode: OdeSettings
    settings: Mapping[str, float] = field(default_factory=dict)
    round_sigma: Callable[[Tensor], Tensor] = identity
    out_channel_factor: int = 1

    def sample_sigma(self, generator: Generator, n: int) -> Tensor:
        """Draw the noise levels of n training images from a CPU generator, float32 (n,)."""
        return self.draw_sigma(generator, n, **self.settings).float()

    def configure(self, **settings: float) -> "Framework":
        """Return the row with other `settings` (EDM: P_mean, P_std); `UsageError` if unknown."""
        if unknown := sorted(settings.keys() - self.settings.keys()):
            allowed = ", ".join(self.settings) or "none"
            raise UsageError(f"framework {self.name!r} has no {unknown[0]}; it has: {allowed}")
        return dataclasses.replace(self, settings={**self.settings, **settings})


def edm_precondition(sigma: Tensor, sigma_data: float) -> Preconditioning:
    """Return the factors that keep F's input and target at unit variance (equations 20-25)."""
    variance = sigma.square() + sigma_data**2
    return Preconditioning(
        c_skip=sigma_data**2 / variance,
        c_out=sigma * sigma_data * variance.rsqrt(),
        c_in=variance.rsqrt(),
        c_noise=sigma.log() / 4,
    )


def edm_weight(sigma: Tensor, sigma_data: float) -> Tensor:
    """Return 1 / c_out^2: F's loss then weighs the same at every level."""
    return (sigma.square() + sigma_data**2) / (sigma * sigma_data).square()


def inverse_variance(sigma: Tensor, sigma_data: float) -> Tensor:
    """Return 1 / sigma^2: the loss of predicting unit noise."""
    return sigma.square().reciprocal()


def vp_precondition(sigma: Tensor, sigma_data: float) -> Preconditioning:
    """Return VP's factors: F predicts the noise from x at unit variance; c_noise = 999 t."""
    c_in = (sigma.square() + 1).rsqrt()
    return Preconditioning(torch.ones_like(sigma), -sigma, c_in, 999 * schedule.vp_time(sigma))


def ve_precondition(sigma: Tensor, sigma_data: float) -> Preconditioning:
    """Return VE's factors: F predicts minus the noise from x as it is."""
    one = torch.ones_like(sigma)
    return Preconditioning(one, sigma, one, (sigma / 2).log())


def iddpm_precondition(sigma: Tensor, sigma_data: float) -> Preconditioning:
    """Return improved DDPM's factors; c_noise is the step's number, 999 at the highest level."""
    c_noise = (schedule.IDDPM_LEVELS - 1 - schedule.iddpm_index(sigma)).to(sigma.dtype)
    c_in = (sigma.square() + 1).rsqrt()
    return Preconditioning(torch.ones_like(sigma), -sigma, c_in, c_noise)


def _vp_limit(t: float) -> float:
    return float(schedule.vp_sigma(torch.tensor(t, dtype=torch.float64)))


EDM = Framework(
    name="edm",
    precondition=edm_precondition,
    draw_sigma=noise.lognormal_sigma,
    weight=edm_weight,
    sigma_min=0.002,
    sigma_max=80.0,
    ode=OdeSettings("edm", "linear", "none"),
    settings={"P_mean": -1.2, "P_std": 1.2},
)
VP = Framework(
    name="vp",
    precondition=vp_precondition,
    draw_sigma=noise.vp_sigma,
    weight=inverse_variance,
    sigma_min=_vp_limit(1e-5),
    sigma_max=_vp_limit(1.0),
    ode=OdeSettings("vp", "vp", "vp"),
)
VE = Framework(
    name="ve",
    precondition=ve_precondition,
    draw_sigma=noise.log_uniform_sigma,
    weight=inverse_variance,
    sigma_min=0.02,
    sigma_max=100.0,
    ode=OdeSettings("ve", "ve", "none"),
)
IDDPM = Framework(
    name="iddpm",
    precondition=iddpm_precondition,
    draw_sigma=noise.iddpm_sigma,
    weight=inverse_variance,
    sigma_min=float(schedule.iddpm_sigmas()[-1]),
    sigma_max=float(schedule.iddpm_sigmas()[0]),
    ode=OdeSettings("iddpm", "linear", "none"),
    round_sigma=schedule.iddpm_round,
    out_channel_factor=2,
)
