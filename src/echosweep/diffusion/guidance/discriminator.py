"""Discriminator guidance (Kim et al. 2023, arXiv 2211.17091, equation 8).

D + w sigma^2 grad log r: where the discriminator is ideal and w = 1, the score of the generated
images becomes that of the real ones. Boosting, an option of the published sampler, treats samples
that look generated harder. Invariant: no gradient flows through the denoiser, and a sample's
guidance depends on that sample alone.
"""

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from echosweep.diffusion.denoiser import DenoiserLike
from echosweep.diffusion.guidance.guided import Guided, Weight

_CLIP = math.log((1 - 1e-5) / 1e-5)  # of the log-ratio: d is clipped to 1e-5 .. 1 - 1e-5
_DOUBLED_EVERY, _CHURNED_EVERY = 2, 5  # steps

LogRatio = Callable[[Tensor, Tensor], Tensor]


class ValueAndGradient(Protocol):
    """log r and its gradient."""

    def __call__(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return log r (N,) and its gradient (N,C,H,W) at x (N,C,H,W) and sigma (N,)."""


def value_and_gradient(log_ratio: LogRatio) -> ValueAndGradient:
    """Return the function of log r, clipped, and its gradient; 0 where it was clipped.

    log_ratio: `(x, sigma) -> (N,)`, a discriminator.
    """

    def evaluate(x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            value = log_ratio(x, sigma).clamp(-_CLIP, _CLIP)
            (gradient,) = torch.autograd.grad(value.sum(), x)
        return value.detach(), gradient

    return evaluate


class Boost:
    """What boosting remembers of one batch: which samples looked generated, step by step.

    At every second step the guidance of samples with log r < 0 is doubled; at every fifth, samples
    whose log r was negative the step before are churned. low, high: the noise levels between which
    it is in force. It is made anew for each batch.
    """

    def __init__(self, low: float, high: float) -> None:
        self._low, self._high, self._step = low, high, 0
        self._now = self._before = torch.zeros(1, dtype=torch.bool)

    def churned(self, i: int) -> Tensor | None:
        """Begin step i; return which samples it churns, bool (N,) or (1,). None: not this step."""
        self._step, self._before, self._now = i, self._now, torch.zeros(1, dtype=torch.bool)
        return None if i % _CHURNED_EVERY else self._before

    def factor(self, log_ratio: Tensor, sigma: Tensor) -> Tensor:
        """Note log r (N,) of this step, at sigma (N,); return the factor (N,) on its guidance."""
        self._now = (log_ratio < 0) & (sigma >= self._low) & (sigma <= self._high)
        doubled = self._now if self._step % _DOUBLED_EVERY == 0 else torch.zeros_like(self._now)
        return 1.0 + doubled.to(sigma.dtype)


def discriminator(
    denoiser: DenoiserLike, evaluate: ValueAndGradient, weight: Weight, boost: Boost | None = None
) -> Guided:
    """Return `denoiser` guided by a discriminator.

    evaluate: its log-ratio and gradient, from `value_and_gradient`. boost: for the first evaluation
    of each step; its `churned` goes to the sampler.
    """

    def direction(x: Tensor, sigma: Tensor, denoised: Tensor, labels: Tensor | None) -> Tensor:
        log_ratio, gradient = evaluate(x, sigma)
        factor = sigma.square()
        if boost:
            factor = factor * boost.factor(log_ratio, sigma)
        return factor[:, None, None, None] * gradient

    return Guided(denoiser, direction, weight)
