"""EDM's stochastic sampler: Heun's second-order method (Karras et al. 2022, algorithm 2).

dx/dsigma = (x - D(x; sigma)) / sigma. Churn first raises the noise a little, then a step removes
more than that: errors of earlier steps are forgotten. Invariant: without churn nothing is drawn and
the result is a function of the latents.
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
def heun(
    denoiser: DenoiserLike,
    latents: Tensor,
    *,
    num_steps: int = 18,
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
    """Yield every step; NFE 2 num_steps - 1.

    latents: (N,C,H,W), unit normal. noise: draws churn's noise. corrector: the denoiser of the
    second evaluation, the same by default. Raises `UsageError` for settings that cannot be.
    """
    limits = sigma_range(sigma_min, sigma_max, (denoiser.sigma_min, denoiser.sigma_max))
    levels = denoiser.round_sigma(make_grid("edm", num_steps, *limits, rho)).tolist()
    churn = churner(levels, S_churn, S_min, S_max, S_noise, denoiser.round_sigma, noise, churned)
    evaluate, corrector, nfe = evaluator(labels), corrector or denoiser, 0
    x = latents.double() * levels[0]
    for i, t_next in enumerate([*levels[1:], 0.0]):
        x_hat, t_hat = churn(i, x)
        denoised = evaluate(denoiser, x_hat, t_hat)
        d_cur = (x_hat - denoised) / t_hat
        x = x_hat + (t_next - t_hat) * d_cur
        nfe += 1
        if t_next > 0:
            d_prime = (x - evaluate(corrector, x, t_next)) / t_next
            x = x_hat + (t_next - t_hat) * (d_cur + d_prime) / 2
            nfe += 1
        yield SamplerStep(i, num_steps, level(t_hat), x, denoised, nfe)
