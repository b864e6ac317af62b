"""A small head on the frozen encoder of ADM's ImageNet classifier: as in Kim et al. 2023.

Its features come from photographs, not from ultrasound, but from many of them, and no training
here can spoil them. Invariant: the encoder is told noise levels as its own training told them.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from echosweep.config import DiscriminatorConfig
from echosweep.diffusion.discriminators.discriminator import (
    Discriminator,
    Model,
    to_unit_variance,
)
from echosweep.diffusion.schedule import IDDPM_LEVELS, iddpm_index
from echosweep.networks.adm_classifier import AdmClassifier
from echosweep.networks.discriminator import Head
from echosweep.networks.unet import check_resolution
from echosweep.published import CLASSIFIER
from echosweep.weights import read_tensors


class ClassifierFeatures(nn.Module):
    """The classifier's encoder on images at unit variance, grey ones repeated to three channels."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = AdmClassifier()

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Return (N,512,H/8,W/8) of x (N,C,H,W) at sigma (N,).

        The timestep is that of the cosine schedule of 1000 steps (Dhariwal & Nichol 2021, table 12)
        whose noise level is nearest.
        """
        timesteps = IDDPM_LEVELS - 1 - iddpm_index(sigma)
        x = to_unit_variance(x, sigma).expand(-1, 3, -1, -1)
        features: Tensor = self.classifier(x, timesteps)
        return features


def find_classifier(path: Path | None) -> Path:
    """Return the weights file given, or named in the environment, once its tensors fit.

    Raises UsageError where there is none, EchoSweepError for a damaged file or another network.
    """
    found = CLASSIFIER.find(path)
    with torch.device("meta"):
        AdmClassifier().load_published(read_tensors(found), found)
    return found


def classifier_features(config: DiscriminatorConfig, model: Model) -> Discriminator:
    """Return the discriminator on the classifier of `config.classifier`.

    Without a file it has no weights yet: those of a trained discriminator lie beside it. Raises
    UsageError for images that cannot be halved three times.
    """
    features = ClassifierFeatures()
    classifier = features.classifier
    height, width = check_resolution(model.image_shape[1:], classifier.levels)
    if config.classifier is not None:
        classifier.load_published(read_tensors(config.classifier), config.classifier)
    shrink = 2 ** (classifier.levels - 1)
    head = Head(classifier.channels, (height // shrink, width // shrink), dropout=config.dropout)
    return Discriminator(features, head, frozen=True)
