"""Discriminators: what tells real from generated images at a noise level.

To add one, write `discriminators/mine.py`, a function `(config, model) -> Discriminator`, and
name it here. Invariant: log r is of (x, sigma) alone; classes of a conditional model do not enter.
"""

from collections.abc import Callable

from echosweep.config import DiscriminatorConfig
from echosweep.diffusion.discriminators.classifier_features import (
    classifier_features,
    find_classifier,
)
from echosweep.diffusion.discriminators.denoiser_features import denoiser_features
from echosweep.diffusion.discriminators.discriminator import Discriminator, Model, regularise
from echosweep.diffusion.discriminators.encoder import encoder

__all__ = ["DISCRIMINATORS", "Discriminator", "Model", "find_classifier", "regularise"]

DISCRIMINATORS: dict[str, Callable[[DiscriminatorConfig, Model], Discriminator]] = {
    "encoder": encoder,
    "denoiser-features": denoiser_features,
    "classifier-features": classifier_features,
}
