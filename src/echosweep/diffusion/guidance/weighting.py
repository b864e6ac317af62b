"""Weights that vary with the noise level: a share in 0..1 of the weight asked for.

u = ln(sigma / low) / ln(high / low) is the place in the interval, 0 at its cleanest end. Trust a
discriminator where it can be right: at high noise real and generated images are the same.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

Table = Sequence[tuple[float, float]]  # (sigma, value), sigma ascending
Weighting = Callable[[Tensor, tuple[float, float], "Measured"], Tensor]


class Measured(NamedTuple):
    """What a discriminator does on held-out images, by noise level.

    accuracy: how often it is right. best_weight: the weight, in 0..1, at which its guidance
    denoises real images best.
    """

    accuracy: Table = ()
    best_weight: Table = ()


def _place(sigma: Tensor, interval: tuple[float, float]) -> Tensor:
    low, high = interval
    return ((sigma / low).log() / math.log(high / low)).clamp(0, 1)


def constant(sigma: Tensor, interval: tuple[float, float], measured: Measured) -> Tensor:
    """Return 1 at every level: the published way."""
    return torch.ones_like(sigma)


def linear(sigma: Tensor, interval: tuple[float, float], measured: Measured) -> Tensor:
    """Return 1 - u: falling to 0 at the noisiest end."""
    return 1 - _place(sigma, interval)


def cosine(sigma: Tensor, interval: tuple[float, float], measured: Measured) -> Tensor:
    """Return (1 + cos(pi u)) / 2: as linear, flat at both ends."""
    return (1 + (math.pi * _place(sigma, interval)).cos()) / 2


def by_accuracy(sigma: Tensor, interval: tuple[float, float], measured: Measured) -> Tensor:
    """Return 2 a - 1, at least 0, where a is the discriminator's accuracy on held-out images.

    At chance it says nothing and gets no weight.
    """
    return _between(sigma, [(s, max(0.0, 2 * a - 1)) for s, a in measured.accuracy])


def by_error(sigma: Tensor, interval: tuple[float, float], measured: Measured) -> Tensor:
    """Return the weight, in 0..1, at which guidance denoises held-out real images best.

    It is -E[e c] / E[c^2], e being the error of D and c the correction sigma^2 grad log r: 0 where
    the gradient is noise, which at high sigma it often is and where sigma^2 makes it large.
    """
    return _between(sigma, measured.best_weight)


def _between(sigma: Tensor, table: Table) -> Tensor:
    """Return the table's values at sigma, linear in ln sigma between its levels."""
    levels, values = np.log([level for level, _ in table]), [value for _, value in table]
    found = np.interp(sigma.double().log().cpu().numpy(), levels, values)
    return torch.as_tensor(found, dtype=sigma.dtype, device=sigma.device)
