"""Guidance: denoisers that wrap denoisers and pull their images closer to real ones.

To add one, write `guidance/mine.py`, a function `(denoiser, expert, ...) -> denoiser`, and build it
in `guides.py` from what `--guidance` names. Invariant: a guided denoiser is a denoiser, so it goes
with every sampler and framework.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from echosweep.diffusion.denoiser import DenoiserLike
from echosweep.diffusion.guidance.autoguidance import autoguidance
from echosweep.diffusion.guidance.discriminator import Boost, discriminator, value_and_gradient
from echosweep.diffusion.guidance.guided import Guided, Interval, Weight
from echosweep.diffusion.guidance.weighting import (
    Measured,
    Weighting,
    by_accuracy,
    by_error,
    constant,
    cosine,
    linear,
)
from echosweep.registry import Registry

__all__ = [
    "WEIGHTINGS",
    "BatchDenoisers",
    "Boost",
    "Guide",
    "Guided",
    "Interval",
    "Measured",
    "Weight",
    "autoguidance",
    "discriminator",
    "unguided",
    "value_and_gradient",
]

WEIGHTINGS: Mapping[str, Weighting] = Registry(
    "weightings",
    {
        "constant": constant,
        "linear": linear,
        "cosine": cosine,
        "accuracy": by_accuracy,
        "error": by_error,
    },
)


class BatchDenoisers(NamedTuple):
    """What one batch is sampled with: the denoisers of both evaluations, and boosting's churn."""

    denoiser: DenoiserLike
    corrector: DenoiserLike | None = None
    churned: Callable[[int], Tensor | None] | None = None


Guide = Callable[[DenoiserLike], BatchDenoisers]  # called anew for each batch


def unguided(denoiser: DenoiserLike) -> BatchDenoisers:
    """Return the denoiser as it is."""
    return BatchDenoisers(denoiser)
