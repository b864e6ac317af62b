"""The discriminator: log r(x; sigma) = ln p_real(x; sigma) - ln p_generated(x; sigma).

Trained to tell noised real from noised generated images, its logit is their log-ratio, and the
gradient of that is what the denoiser's score lacks (Kim et al. 2023, arXiv 2211.17091, equation 8).
Invariant: frozen parts stay frozen and in evaluation mode, whatever mode the whole is put in.
"""

from collections.abc import Callable
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from echosweep.config import DiscriminatorConfig
from echosweep.diffusion.denoiser import Denoiser
from echosweep.diffusion.schedule import vp_time


class Model(NamedTuple):
    """What is guided: the shape (C, H, W) of its images, and itself, untrained and trained."""

    image_shape: tuple[int, int, int]
    fresh: Callable[[], Denoiser]
    trained: Callable[[], Denoiser]


class Discriminator(nn.Module):
    """log r of noisy images: features, then a head.

    features: a module `(x, sigma) -> (N,F,h,w)`. head: `(features, c_noise) -> (N,)`. frozen: the
    features are not trained.
    """

    def __init__(self, features: nn.Module, head: nn.Module, frozen: bool):
        super().__init__()
        self.features, self.head, self.frozen = features, head, frozen
        if frozen:
            features.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all that is trained."""
        super().train(mode)
        if self.frozen:
            self.features.eval()
        return self

    def forward(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """Return log r, float32 (N,).

        x: noisy images (N,C,H,W). sigma: a number or (N,).
        """
        sigma = torch.as_tensor(sigma, dtype=torch.float32, device=x.device).expand(len(x))
        features = self.features(x.to(torch.float32), sigma)
        log_ratio: Tensor = self.head(features, 999 * vp_time(sigma)).to(torch.float32)
        return log_ratio

    def trained_state(self) -> dict[str, Tensor]:
        """Return the tensors that training changes, by name."""
        prefix = ("head.",) if self.frozen else ("head.", "features.")
        return {k: v for k, v in self.state_dict().items() if k.startswith(prefix)}

    def frozen_state(self) -> dict[str, Tensor]:
        """Return the tensors that it does not."""
        trained = self.trained_state().keys()
        return {k: v for k, v in self.state_dict().items() if k not in trained}


def to_unit_variance(x: Tensor, sigma: Tensor) -> Tensor:
    """Return x / sqrt(1 + sigma^2): noisy images of any level at about the same scale."""
    return x * (1 + sigma.square()).rsqrt()[:, None, None, None]


def regularise(discriminator: Discriminator, config: DiscriminatorConfig) -> Discriminator:
    """Return the discriminator with what its config puts on its layers: spectral normalisation."""
    if config.spectral_norm:
        trained = [discriminator.head] + ([] if discriminator.frozen else [discriminator.features])
        for part in trained:
            for layer in part.modules():
                if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear):
                    if not layer.weight.any():  # nothing divided by its norm is not a number
                        nn.init.xavier_uniform_(layer.weight)
                    spectral_norm(layer)
    return discriminator
