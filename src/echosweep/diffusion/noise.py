"""Randomness of training and sampling: which noise levels are trained, and churn.

Every draw takes the generator it comes from, on the CPU, so that a training step and an image are
functions of their seeds on any device. Invariant: no function here touches torch's global state.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from echosweep.diffusion import schedule
from echosweep.errors import UsageError

NoiseOfShape = Callable[[Sequence[int]], Tensor]


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


Churned = Callable[[int], Tensor | None]
BOOST_CHURN = 4.0  # S_churn of the samples that a `Churned` names; their S_noise is 1


class ChurnedLatents(NamedTuple):
    """A state after churn. x: (N,C,H,W). t: its noise level, a number, or float64 (N,1,1,1)."""

    x: Tensor
    t: float | Tensor


def churner(
    t_steps: Sequence[float],
    S_churn: float,
    S_min: float,
    S_max: float,
    S_noise: float,
    round_sigma: Callable[[Tensor], Tensor],
    noise: NoiseOfShape | None,
    churned: Churned | None = None,
) -> Callable[[int, Tensor], ChurnedLatents]:
    """Return the function (i, x) -> x_hat = x + sqrt(t_hat^2 - t^2) S_noise eps, at t_hat.

    t_hat is t (1 + gamma), gamma = min(S_churn / N, sqrt 2 - 1) in S_min..S_max; nothing is drawn
    where it is t. t_steps: the N levels, without the last 0. noise: gives eps, float64 (N,C,H,W),
    from (C,H,W). churned: called once a step; the samples, bool (N,), that it names are churned by
    BOOST_CHURN instead. Raises `UsageError` where churn has no `noise`.
    """
    if S_churn < 0:
        raise UsageError(f"S_churn {S_churn:g} must be 0 (no noise) or more")
    if (S_churn > 0 or churned) and noise is None:
        raise UsageError(f"S_churn {S_churn:g} draws noise: pass noise=rng.ImageNoise(seeds)")

    def levels(amount: float, low: float, high: float) -> list[float]:
        gamma = min(amount / len(t_steps), math.sqrt(2) - 1)
        raised = [t * (1 + gamma) if low <= t <= high else t for t in t_steps]
        return [float(t) for t in round_sigma(torch.tensor(raised, dtype=torch.float64))]

    usual = levels(S_churn, S_min, S_max) if S_churn else list(t_steps)
    boosted = levels(BOOST_CHURN, 0, math.inf)

    def churn(i: int, x: Tensor) -> ChurnedLatents:
        plain = _raise(x, t_steps[i], usual[i], S_noise, noise)
        rows = churned(i) if churned else None
        if rows is None:
            return plain
        # Noise is drawn for every image: what one gets must not depend on the others.
        some = rows.to(x.device)[:, None, None, None]
        more = _raise(x, t_steps[i], boosted[i], 1.0, noise)
        raised, usual_t = torch.tensor([more.t, plain.t], dtype=torch.float64)
        t = torch.where(some, raised, usual_t)
        return ChurnedLatents(torch.where(some, more.x, plain.x), t)

    return churn


def _raise(
    x: Tensor, t_cur: float, t_hat: float, S_noise: float, noise: NoiseOfShape | None
) -> ChurnedLatents:
    if t_hat <= t_cur:
        return ChurnedLatents(x, t_cur)
    assert noise is not None
    return ChurnedLatents(x + math.sqrt(t_hat**2 - t_cur**2) * S_noise * noise(x.shape[1:]), t_hat)
