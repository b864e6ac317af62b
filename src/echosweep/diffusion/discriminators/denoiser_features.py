"""A small head on the frozen encoder of the model that it guides.

The model has learned these images already: what is left to train is small and overfits late.
"""

from torch import Tensor, nn

from echosweep.config import DiscriminatorConfig
from echosweep.diffusion.denoiser import Denoiser
from echosweep.diffusion.discriminators.discriminator import Discriminator, Model
from echosweep.networks.discriminator import Head, UNetFeatures


class DenoiserFeatures(nn.Module):
    """The encoder of a denoiser, given x as the denoiser gives it."""

    def __init__(self, denoiser: Denoiser):
        super().__init__()
        self.unet = UNetFeatures(denoiser.network)
        self._precondition, self._sigma_data = denoiser.framework.precondition, denoiser.sigma_data

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Return the deepest features of x (N,C,H,W) at sigma (N,)."""
        factors = self._precondition(sigma, self._sigma_data)
        features: Tensor = self.unet(factors.c_in[:, None, None, None] * x, factors.c_noise)
        return features


def denoiser_features(config: DiscriminatorConfig, model: Model) -> Discriminator:
    """Return the discriminator on the encoder of the model."""
    features = DenoiserFeatures(model.trained())
    unet = features.unet
    head = Head(unet.channels, unet.size, min(128, unet.channels), dropout=config.dropout)
    return Discriminator(features, head, frozen=True)
