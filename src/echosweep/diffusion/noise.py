"""Randomness of training and sampling: which noise levels are trained, and churn.

Every draw takes the generator it comes from, on the CPU, so that a training step and an image are
functions of their seeds on any device. Invariant: no function here touches torch's global state.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

from echosweep.diffusion import schedule
from echosweep.errors import UsageError

ImageNoise = Callable[[Sequence[int]], Tensor]


def lognormal_sigma(
    generator: Generator, n: int, P_mean: float = -1.2, P_std: float = 1.2
) -> Tensor:
    """Draw ln sigma ~ N(P_mean, P_std^2), float64 (n,): EDM."""
    normal = torch.randn(n, generator=generator, dtype=torch.float64)
    return (P_mean + P_std * normal).exp()


def vp_sigma(generator: Generator, n: int) -> Tensor:
    """Draw sigma(t) at t ~ U(1e-5, 1), float64 (n,): VP."""
    u = torch.rand(n, generator=generator, dtype=torch.float64)
    return schedule.vp_sigma(1e-5 + (1 - 1e-5) * u)


def log_uniform_sigma(generator: Generator, n: int) -> Tensor:
    """Draw ln sigma uniformly between ln 0.02 and ln 100, float64 (n,): VE."""
    u: Tensor = torch.rand(n, generator=generator, dtype=torch.float64)
    sigma: Tensor = 0.02 * 5000**u
    return sigma


def iddpm_sigma(generator: Generator, n: int) -> Tensor:
    """Draw one of the 1000 levels of improved DDPM, float64 (n,)."""
    j = torch.randint(schedule.IDDPM_LEVELS, (n,), generator=generator)
    return schedule.iddpm_sigmas()[j]


def churn(
    x: Tensor,
    t_cur: float,
    t_hat: float,
    S_noise: float,
    noise: ImageNoise | None,
) -> Tensor:
    """Return x_hat = x + sqrt(t_hat^2 - t_cur^2) S_noise eps: x raised from t_cur to t_hat.

    Nothing is drawn where the levels are equal. noise: gives eps, float64 (N,C,H,W), from (C,H,W).
    """
    if t_hat <= t_cur:
        return x
    assert noise is not None
    return x + math.sqrt(t_hat**2 - t_cur**2) * S_noise * noise(x.shape[1:])


def churned_levels(
    t_steps: Sequence[float],
    S_churn: float,
    S_min: float,
    S_max: float,
    round_sigma: Callable[[Tensor], Tensor],
    noise: ImageNoise | None,
) -> list[float]:
    """Return t_hat of every step: t (1 + gamma), gamma = min(S_churn / N, sqrt 2 - 1) in range.

    t_steps: the N levels, without the last 0. Raises `UsageError` where churn has no `noise`.
    """
    if S_churn < 0:
        raise UsageError(f"S_churn {S_churn:g} must be 0 (no noise) or more")
    if S_churn > 0 and noise is None:
        raise UsageError(f"S_churn {S_churn:g} draws noise: pass noise=rng.ImageNoise(seeds)")
    gamma = min(S_churn / len(t_steps), math.sqrt(2) - 1)
    raised = [t * (1 + gamma) if S_min <= t <= S_max else t for t in t_steps]
    if gamma == 0:
        return list(t_steps)
    return [float(t) for t in round_sigma(torch.tensor(raised, dtype=torch.float64))]
