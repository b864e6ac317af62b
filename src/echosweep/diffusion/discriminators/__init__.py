"""Discriminators: what tells real from generated images at a noise level.

To add one, write `discriminators/mine.py`, a function `(config, model) -> Discriminator`, and
name it here. Invariant: log r is of (x, sigma) alone; classes of a conditional model do not enter.
"""

from collections.abc import Callable, Mapping

from echosweep.config import DiscriminatorConfig
from echosweep.diffusion.discriminators.classifier_features import (
    classifier_features,
    find_classifier,
)
from echosweep.diffusion.discriminators.denoiser_features import denoiser_features
from echosweep.diffusion.discriminators.discriminator import Discriminator, Model, regularise
from echosweep.diffusion.discriminators.encoder import encoder
from echosweep.registry import Registry

__all__ = ["DISCRIMINATORS", "Build", "Discriminator", "Model", "find_classifier", "regularise"]

Build = Callable[[DiscriminatorConfig, Model], Discriminator]

DISCRIMINATORS: Mapping[str, Build] = Registry(
    "discriminators",
    {
        "encoder": encoder,
        "denoiser-features": denoiser_features,
        "classifier-features": classifier_features,
    },
)
