"""Weights that vary with the noise level: a share in 0..1 of the weight asked for.

u = ln(sigma / low) / ln(high / low) is the place in the interval, 0 at its cleanest end. Trust a
discriminator where it can be right: at high noise real and generated images are the same.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

Accuracy = Sequence[tuple[float, float]]  # (sigma, accuracy on held-out images), sigma ascending
Weighting = Callable[[Tensor, tuple[float, float], Accuracy], Tensor]


def _place(sigma: Tensor, interval: tuple[float, float]) -> Tensor:
    low, high = interval
    return ((sigma / low).log() / math.log(high / low)).clamp(0, 1)


def constant(sigma: Tensor, interval: tuple[float, float], accuracy: Accuracy) -> Tensor:
    """Return 1 at every level: the published way."""
    return torch.ones_like(sigma)


def linear(sigma: Tensor, interval: tuple[float, float], accuracy: Accuracy) -> Tensor:
    """Return 1 - u: falling to 0 at the noisiest end."""
    return 1 - _place(sigma, interval)


def cosine(sigma: Tensor, interval: tuple[float, float], accuracy: Accuracy) -> Tensor:
    """Return (1 + cos(pi u)) / 2: as linear, flat at both ends."""
    return (1 + (math.pi * _place(sigma, interval)).cos()) / 2


def by_accuracy(sigma: Tensor, interval: tuple[float, float], accuracy: Accuracy) -> Tensor:
    """Return 2 a - 1, at least 0, where a is the discriminator's accuracy on held-out images.

    At chance it says nothing and gets no weight. Between measured levels a is linear in ln sigma.
    """
    levels, shares = np.log([s for s, _ in accuracy]), [max(0.0, 2 * a - 1) for _, a in accuracy]
    found = np.interp(sigma.double().log().cpu().numpy(), levels, shares)
    return torch.as_tensor(found, dtype=sigma.dtype, device=sigma.device)
