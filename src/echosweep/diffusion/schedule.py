"""Noise levels: which ones a sampler visits, and how they run with time.

A grid is `num_steps` falling levels sigma_0 > ... > sigma_{N-1}; the sampler adds sigma_N = 0. A
schedule maps time to sigma, a scaling shrinks the signal: together they are one ODE (Karras et al.
2022, equation 4). Invariant: pure functions of float64 values, on the CPU, so no device enters.
"""

import math
from collections.abc import Callable, Collection
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from echosweep.errors import UsageError

VP_BETA_D, VP_BETA_MIN, VP_EPS = 19.9, 0.1, 1e-3
IDDPM_LEVELS = 1000


def vp_sigma(t: Tensor, beta_d: float = VP_BETA_D, beta_min: float = VP_BETA_MIN) -> Tensor:
    """Return sigma(t) = sqrt(exp(beta_d t^2 / 2 + beta_min t) - 1), in t's dtype."""
    return torch.expm1(t * (0.5 * beta_d * t + beta_min)).sqrt()


def vp_time(sigma: Tensor, beta_d: float = VP_BETA_D, beta_min: float = VP_BETA_MIN) -> Tensor:
    """Return the t at which `vp_sigma` is sigma, in sigma's dtype.

    The root is written with the square root below the line: above it, small sigmas cancel.
    """
    log_variance = torch.log1p(sigma.square())
    return 2 * log_variance / (beta_min + (beta_min**2 + 2 * beta_d * log_variance).sqrt())


@cache
def iddpm_sigmas() -> Tensor:
    """Return u_0 > ... > u_999, float64: the levels of improved DDPM (Karras et al., table 1).

    The recursion runs in float32, as it did for published models: its rounding moves the lowest
    levels by 5e-4.
    """
    j = torch.arange(IDDPM_LEVELS + 1, dtype=torch.float32)
    alpha_bar = (0.5 * math.pi * j / IDDPM_LEVELS / 1.008).sin().square()
    ratio = (alpha_bar[:-1] / alpha_bar[1:]).clip(min=0.001)
    u = torch.zeros_like(j)
    for i in reversed(range(IDDPM_LEVELS)):
        u[i] = ((u[i + 1].square() + 1) / ratio[i] - 1).sqrt()
    return u[:-1].double()


def iddpm_index(sigma: Tensor) -> Tensor:
    """Return the index of the nearest u_j for every sigma (N,), int64 (N,)."""
    u = iddpm_sigmas().to(sigma.device)
    return (u - sigma.double().unsqueeze(-1)).abs().argmin(dim=-1)


def iddpm_round(sigma: Tensor) -> Tensor:
    """Return the nearest u_j for every sigma, in sigma's shape and dtype."""
    return iddpm_sigmas().to(sigma.device)[iddpm_index(sigma)].to(sigma.dtype)


Grid = Callable[[int, float, float, float], Tensor]


def _fractions(num_steps: int) -> Tensor:
    return torch.arange(num_steps, dtype=torch.float64) / max(num_steps - 1, 1)


def edm_grid(num_steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Tensor:
    """Return levels equally spaced in sigma^(1/rho) (Karras et al. 2022, equation 5)."""
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    grid: Tensor = (high + _fractions(num_steps) * (low - high)) ** rho
    return grid


def vp_grid(num_steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Tensor:
    """Return levels equally spaced in VP's time, from 1 to 1e-3; rho is not used."""
    t = 1 + _fractions(num_steps) * (VP_EPS - 1)
    return vp_sigma(t, *_vp_betas(sigma_min, sigma_max))


def ve_grid(num_steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Tensor:
    """Return levels in geometric progression; rho is not used."""
    ratio = torch.tensor(sigma_min / sigma_max, dtype=torch.float64)
    return sigma_max * ratio ** _fractions(num_steps)


def iddpm_grid(num_steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Tensor:
    """Return `num_steps` of improved DDPM's own levels in the range; rho is not used."""
    u = iddpm_sigmas()
    u = u[(u >= sigma_min) & (u <= sigma_max)]
    if num_steps > len(u):
        raise UsageError(f"iddpm has {len(u)} noise levels; {num_steps} steps are too many")
    index: Tensor = (_fractions(num_steps) * (len(u) - 1)).round().long()
    return u[index]


def _vp_betas(sigma_min: float, sigma_max: float) -> tuple[float, float]:
    """Return the beta_d and beta_min for which sigma(1e-3) = sigma_min and sigma(1) = sigma_max."""
    low, high = math.log1p(sigma_min**2), math.log1p(sigma_max**2)
    beta_d = 2 * (low / VP_EPS - high) / (VP_EPS - 1)
    return beta_d, high - 0.5 * beta_d


GRIDS: dict[str, Grid] = {"vp": vp_grid, "ve": ve_grid, "iddpm": iddpm_grid, "edm": edm_grid}
GRID_RANGES: dict[str, tuple[float, float]] = {
    "vp": (
        float(vp_sigma(torch.tensor(VP_EPS).double())),
        float(vp_sigma(torch.ones(()).double())),
    ),
    "ve": (0.02, 100.0),
    "iddpm": (0.002, 81.0),
    "edm": (0.002, 80.0),
}


def sigma_range(
    sigma_min: float | None,
    sigma_max: float | None,
    limits: tuple[float, float],
    default: tuple[float, float] = GRID_RANGES["edm"],
) -> tuple[float, float]:
    """Return (sigma_min, sigma_max), `default` where None, clipped to what a denoiser can take.

    Raises `UsageError` where nothing is left between them.
    """
    low = max(default[0] if sigma_min is None else sigma_min, limits[0])
    high = min(default[1] if sigma_max is None else sigma_max, limits[1])
    if not 0 < low < high < math.inf:
        raise UsageError(
            f"no noise levels between sigma_min {low:g} and sigma_max {high:g}; "
            f"this denoiser takes {limits[0]:g} to {limits[1]:g}"
        )
    return low, high


def make_grid(
    name: str, num_steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0
) -> Tensor:
    """Return the `num_steps` falling levels of discretization `name`, float64 (num_steps,).

    Raises `UsageError` for an unknown name, fewer than one step, or rho <= 0.
    """
    if num_steps < 1 or not rho > 0:
        raise UsageError(f"{num_steps} steps with rho {rho:g}: both must be positive")
    return GRIDS[check_name("discretization", name, GRIDS)](num_steps, sigma_min, sigma_max, rho)


def check_name(what: str, name: str, allowed: Collection[str]) -> str:
    """Return `name`; raise `UsageError` with the choices where it is not one of them."""
    if name not in allowed:
        raise UsageError(f"{what} {name!r} is not known; choose from {', '.join(allowed)}")
    return name


class Coefficients(NamedTuple):
    """The ODE dx/dt = A x - B D(x/a; sigma) at the levels of a grid, each float64 (N,)."""

    t: Tensor
    a: Tensor
    A: Tensor
    B: Tensor


def ode_coefficients(sigma: Tensor, schedule: str, scaling: str) -> Coefficients:
    """Return time, scale and the slope's factors at falling levels sigma (N,).

    schedule vp, ve or linear: sigma(t). scaling vp: a = 1/sqrt(1 + sigma^2); none: a = 1.
    """
    t, rate = _time_and_rate(sigma, schedule)
    check_name("scaling", scaling, ("vp", "none"))
    a = (1 + sigma.square()).rsqrt() if scaling == "vp" else torch.ones_like(sigma)
    log_a_rate = -sigma * rate * a.square() if scaling == "vp" else torch.zeros_like(sigma)
    return Coefficients(t, a, rate / sigma + log_a_rate, rate * a / sigma)


def _time_and_rate(sigma: Tensor, schedule: str) -> tuple[Tensor, Tensor]:
    """Return t(sigma) and d sigma / dt."""
    check_name("schedule", schedule, ("vp", "ve", "linear"))
    if schedule == "linear":
        return sigma, torch.ones_like(sigma)
    if schedule == "ve":
        return sigma.square(), 0.5 / sigma
    beta_d, beta_min = _vp_betas(float(sigma[-1]), float(sigma[0]))
    t = vp_time(sigma, beta_d, beta_min)
    return t, 0.5 * (beta_min + beta_d * t) * (sigma + 1 / sigma)
