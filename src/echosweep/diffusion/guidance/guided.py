"""Guidance: a denoiser around a denoiser, D_guided = D + w(sigma) g.

g is a vector in the units of D, for the discriminator sigma^2 grad log r. Samplers see a denoiser
and know nothing of it. Invariant: at weight 0 what comes back is D itself, bit for bit.
"""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from echosweep.diffusion.denoiser import DenoiserLike

Weight = Callable[[Tensor], Tensor]  # sigma (N,) -> w (N,)


class Direction(Protocol):
    """Where a guidance points to."""

    def __call__(self, x: Tensor, sigma: Tensor, denoised: Tensor, labels: Tensor | None) -> Tensor:
        """Return g (N,C,H,W) at x (N,C,H,W) and sigma (N,), where D is `denoised`."""


class Guided:
    """D + w(sigma) g: a denoiser that wraps another."""

    def __init__(self, denoiser: DenoiserLike, direction: Direction, weight: Weight) -> None:
        self._denoiser, self._direction, self._weight = denoiser, direction, weight

    def __getattr__(self, name: str) -> Any:
        return getattr(self._denoiser, name)

    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return D_guided (N,C,H,W) of x (N,C,H,W) at sigma (N,)."""
        denoised = self._denoiser(x, sigma, labels)
        weight = self._weight(sigma)
        if not weight.any():
            return denoised
        direction = self._direction(x, sigma, denoised, labels).to(denoised.dtype)
        return denoised + weight[:, None, None, None].to(denoised.dtype) * direction


class Interval:
    """A guided denoiser between two noise levels, the plain one elsewhere.

    Guidance can harm at high noise and cost without use at low (Kynkäänniemi et al. 2024, arXiv
    2404.07724). low, high: the interval, both ends in it.
    """

    def __init__(
        self, denoiser: DenoiserLike, guided: DenoiserLike, low: float, high: float
    ) -> None:
        self._denoiser, self._guided = denoiser, guided
        self._low, self._high = low, high

    def __getattr__(self, name: str) -> Any:
        return getattr(self._denoiser, name)

    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return D_guided (N,C,H,W) of x (N,C,H,W) where sigma (N,) is in the interval, else D."""
        inside = (sigma >= self._low) & (sigma <= self._high)
        if not inside.any():
            return self._denoiser(x, sigma, labels)
        guided = self._guided(x, sigma, labels)
        if inside.all():
            return guided
        plain = self._denoiser(x, sigma, labels)  # churn can put samples on both sides of an end
        return torch.where(inside[:, None, None, None], guided, plain)
