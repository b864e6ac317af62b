"""The untrained VGG16: the same everywhere, alive to its input, and never called FID."""

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from echosweep.evaluation.features import Options
from echosweep.evaluation.random_features import RandomVGG16, build_random


def test_the_network_is_vgg16():
    """13 convolutions in column D's widths, and two fully connected layers."""
    network = RandomVGG16(torch.device("cpu"))
    widths = [[weight.shape[0] for weight in stage] for stage in network._convs]
    assert widths == [[64] * 2, [128] * 2, [256] * 3, [512] * 3, [512] * 3]
    assert network._fc1.shape == (4096, 512 * 2 * 2)
    assert network._fc2.shape == (64, 4096)


def test_features_are_frozen(images: NDArray[np.uint8], golden: Path):
    """The weights are a promise: numbers of one version compare with those of the next."""
    expected = json.loads((golden / "random_features.json").read_text())["features"]
    np.testing.assert_allclose(
        build_random(Options(device="cpu"))(images)[:, ::8], expected, atol=1e-4
    )


def test_the_signal_survives_fifteen_layers(images: NDArray[np.uint8]):
    features = build_random(Options(device="cpu"))(images)
    assert 0.01 < features.std() < 10
    assert np.abs(features[0] - features[1]).max() > 0.01
