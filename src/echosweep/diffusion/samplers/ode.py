"""The general deterministic sampler: any time steps, schedule, scaling and solver together.

dx/dt = (s'/s + a'/a) x - (s' a / s) D(x/a; s), where s(t) is the noise and a(t) the scale of the
signal (Karras et al. 2022, equation 81). VP's, VE's and improved DDPM's own samplers are settings
of it. Invariant: edm + linear + none + heun is the `heun` sampler without churn.
"""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from echosweep.diffusion.denoiser import DenoiserLike
from echosweep.diffusion.noise import NoiseOfShape
from echosweep.diffusion.samplers.step import SamplerStep, evaluator
from echosweep.diffusion.schedule import (
    GRID_RANGES,
    check_name,
    make_grid,
    ode_coefficients,
    sigma_range,
)


@torch.no_grad()
def ode(
    denoiser: DenoiserLike,
    latents: Tensor,
    *,
    num_steps: int = 18,
    sigma_min: float | None = None,
    sigma_max: float | None = None,
    rho: float = 7.0,
    solver: Literal["euler", "heun"] = "heun",
    discretization: str = "edm",
    schedule: str = "linear",
    scaling: str = "none",
    labels: Tensor | None = None,
    noise: NoiseOfShape | None = None,
    corrector: DenoiserLike | None = None,
) -> Iterator[SamplerStep]:
    """Yield every step; NFE num_steps (euler) or 2 num_steps - 1 (heun).

    latents: (N,C,H,W), unit normal. discretization: vp, ve, iddpm or edm. schedule: vp, ve or
    linear. scaling: vp or none. corrector: the denoiser of Heun's second evaluation. noise is not
    used. Raises `UsageError` for settings that cannot be.
    """
    check_name("solver", solver, ("euler", "heun"))
    default = GRID_RANGES[check_name("discretization", discretization, GRID_RANGES)]
    limits = sigma_range(sigma_min, sigma_max, (denoiser.sigma_min, denoiser.sigma_max), default)
    levels = denoiser.round_sigma(make_grid(discretization, num_steps, *limits, rho))
    sigma, (t, a, A, B) = levels.tolist(), ode_coefficients(levels, schedule, scaling)
    times, scales = [*t.tolist(), 0.0], [*a.tolist(), 1.0]
    evaluate, corrector, nfe = evaluator(labels), corrector or denoiser, 0
    x = latents.double() * (sigma[0] * scales[0])
    for i in range(num_steps):
        h = times[i + 1] - times[i]
        denoised = evaluate(denoiser, x / scales[i], sigma[i])
        d_cur = A[i].item() * x - B[i].item() * denoised
        x_next = x + h * d_cur
        nfe += 1
        if solver == "heun" and i + 1 < num_steps:
            D_next = evaluate(corrector, x_next / scales[i + 1], sigma[i + 1])
            d_prime = A[i + 1].item() * x_next - B[i + 1].item() * D_next
            x_next = x + h * (d_cur + d_prime) / 2
            nfe += 1
        x = x_next
        yield SamplerStep(i, num_steps, sigma[i], x / scales[i + 1], denoised, nfe)
