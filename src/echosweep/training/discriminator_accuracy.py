"""How well a discriminator tells real from generated images, by noise level.

Measured on images that it was trained on and on others: where it is right about the former alone,
its gradient leads astray. Invariant: the same images meet the same noise in every epoch.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from echosweep import rng
from echosweep.config import DiscriminatorConfig
from echosweep.diffusion import Denoiser
from echosweep.diffusion.discriminators import Discriminator
from echosweep.training import OBJECTIVES
from echosweep.training.batches import Batches
from echosweep.training.discriminator import Sides
from echosweep.training.loop import autocast
from echosweep.training.objectives import Noisy, denoising_errors, entropy_of

LEVELS: tuple[float, ...] = tuple(np.geomspace(0.03, 150, 8).round(4).tolist())


class Level(NamedTuple):
    """What was found at one noise level.

    real, generated: the share of each side told right. guided_error: that of the guided denoiser on
    the real images, w = 1, over that of the plain one. best_weight: the w at which it is least, in
    0..1.
    """

    sigma: float
    loss: float
    real: float
    generated: float
    guided_error: float
    best_weight: float


def measure(
    discriminator: Discriminator,
    sides: Sides,
    denoiser: Denoiser,
    config: DiscriminatorConfig,
    device: torch.device,
) -> dict[str, Any]:
    """Return loss and accuracy over all of `sides`, and all of a `Level` by level, as JSON.

    sides: equally many of both. The loss is the cross-entropy, without label smoothing; for an
    objective of the gradient alone it is the guided denoiser's error, and log r is compared with
    its median at the level.
    """
    discriminator.eval()
    with torch.no_grad(), autocast("auto", device):
        found = [_at_level(discriminator, sides, denoiser, config, device, s) for s in LEVELS]
    discriminator.train()
    return {
        "loss": float(np.mean([level.loss for level in found])),
        "accuracy": float(np.mean([(level.real + level.generated) / 2 for level in found])),
        "levels": [level._asdict() for level in found],
    }


def _at_level(
    discriminator: Discriminator,
    sides: Sides,
    denoiser: Denoiser,
    config: DiscriminatorConfig,
    device: torch.device,
    sigma: float,
) -> Level:
    count, size = len(sides.real.images), config.batch // 2
    ratios, errors = [], []
    for start in range(0, count, size):
        part = min(size, count - start)
        real, generated = (_noised(images, start, part, sigma, device) for images in sides)
        ratios.append(torch.stack([discriminator(i.x, i.sigma) for i in (real, generated)]))
        errors.append(torch.stack(denoising_errors(discriminator, real, denoiser)))
    both = torch.cat(ratios, dim=1).double()
    plain, guided, overlap, correction = torch.cat(errors, dim=1).double().mean(dim=1).tolist()
    loss = float(entropy_of(*both))
    if OBJECTIVES[config.objective].gradient_only:
        both, loss = both - both.quantile(0.5), guided
    best = min(1.0, max(0.0, -overlap / correction)) if correction else 0.0
    return Level(sigma, loss, *_told_right(both), guided / plain, best)


def _noised(images: Batches, start: int, count: int, sigma: float, device: torch.device) -> Noisy:
    y, labels = images.get(start, count, device)
    noise = torch.randn(y.shape, generator=rng.generator("held-out", start)).to(device)
    return Noisy(y, y + sigma * noise, torch.full((count,), sigma, device=device), labels)


def _told_right(log_ratios: Tensor) -> tuple[float, float]:
    """Return the share of real and of generated images on their side of 0; log_ratios (2, N)."""
    real, generated = log_ratios
    # On the border counts as half, so that a discriminator that says nothing is at chance.
    shares = [(r > 0).double().mean() + (r == 0).double().mean() / 2 for r in (real, -generated)]
    return float(shares[0]), float(shares[1])
