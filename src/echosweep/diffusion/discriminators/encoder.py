"""A U-Net encoder trained end to end: the discriminator of Reynaud & Kainz 2023.

It is the encoder of a network like the guided model's own, so it costs about a third of it.
"""

from torch import Tensor, nn

from echosweep.config import DiscriminatorConfig
from echosweep.diffusion.discriminators.discriminator import (
    Discriminator,
    Model,
    to_unit_variance,
)
from echosweep.networks.discriminator import Logit, UNetFeatures


class EncoderFeatures(nn.Module):
    """A fresh encoder on images at unit variance, told ln(sigma) / 4 as in EDM."""

    def __init__(self, unet_features: UNetFeatures):
        super().__init__()
        self.unet = unet_features

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Return the deepest features of x (N,C,H,W) at sigma (N,)."""
        features: Tensor = self.unet(to_unit_variance(x, sigma), sigma.log() / 4)
        return features


class LogitOnly(nn.Module):
    """A head that leaves the noise level to the features."""

    def __init__(self, logit: Logit):
        super().__init__()
        self.logit = logit

    def forward(self, features: Tensor, c_noise: Tensor) -> Tensor:
        """Return (N,) from features (N,F,h,w)."""
        y: Tensor = self.logit(features)
        return y


def encoder(config: DiscriminatorConfig, model: Model) -> Discriminator:
    """Return the discriminator on a fresh encoder of the model's kind."""
    unet = UNetFeatures(model.fresh().network)
    for module in unet.modules():
        if isinstance(module, nn.Dropout):
            module.p = config.dropout
    head = LogitOnly(Logit(unet.channels, unet.size))
    return Discriminator(EncoderFeatures(unet), head, frozen=False)
