"""Euler's first-order method on EDM's time steps; on these it is DDIM (Song et al. 2021).

x' = x + (sigma' - sigma) (x - D(x; sigma)) / sigma: one evaluation a step, an error that halves
when the steps double. Invariant: without churn nothing is drawn.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from echosweep.diffusion.denoiser import DenoiserLike
from echosweep.diffusion.noise import Churned, NoiseOfShape, churner
from echosweep.diffusion.samplers.step import SamplerStep, evaluator, level
from echosweep.diffusion.schedule import make_grid, sigma_range


@torch.no_grad()
def euler(
    denoiser: DenoiserLike,
    latents: Tensor,
    *,
    num_steps: int = 35,
    sigma_min: float | None = None,
    sigma_max: float | None = None,
    rho: float = 7.0,
    S_churn: float = 0.0,
    S_min: float = 0.0,
    S_max: float = math.inf,
    S_noise: float = 1.0,
    labels: Tensor | None = None,
    noise: NoiseOfShape | None = None,
    corrector: DenoiserLike | None = None,
    churned: Churned | None = None,
) -> Iterator[SamplerStep]:
    """Yield every step; NFE num_steps. The arguments are those of `heun`.

    corrector is not used: a first-order step has no second evaluation.
    """
    limits = sigma_range(sigma_min, sigma_max, (denoiser.sigma_min, denoiser.sigma_max))
    levels = denoiser.round_sigma(make_grid("edm", num_steps, *limits, rho)).tolist()
    churn = churner(levels, S_churn, S_min, S_max, S_noise, denoiser.round_sigma, noise, churned)
    evaluate = evaluator(labels)
    x = latents.double() * levels[0]
    for i, t_next in enumerate([*levels[1:], 0.0]):
        x_hat, t_hat = churn(i, x)
        denoised = evaluate(denoiser, x_hat, t_hat)
        x = x_hat + (t_next - t_hat) * (x_hat - denoised) / t_hat
        yield SamplerStep(i, num_steps, level(t_hat), x, denoised, i + 1)
