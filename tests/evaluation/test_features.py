"""Resizes against the libraries that they are named after; features that are not finite."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from echosweep.errors import EchoSweepError
from echosweep.evaluation.features import (
    CHUNK,
    Extractor,
    Resize,
    extract,
    fold,
    half_pixel_bilinear,
    pil_bicubic,
    pil_bilinear,
    tf1_bilinear,
)

CPU = torch.device("cpu")


def test_tf1_bilinear_by_hand():
    """From 2 pixels to 4: sources 0, 1/2, 1 and 3/2, the last one clamped to the border."""
    expected = torch.tensor([[1, 0], [0.5, 0.5], [0, 1], [0, 1]])
    torch.testing.assert_close(tf1_bilinear(2, 4), expected)


@pytest.mark.parametrize("size", [1, 7, 64, 299, 400])
def test_half_pixel_bilinear_is_torch_interpolate(size: int):
    """In float64: in float32 torch rounds the source position too."""
    x = torch.rand(1, 1, size, size + 3, generator=torch.Generator().manual_seed(0)).double()
    rows, columns = (half_pixel_bilinear(n, 299).double() for n in (size, size + 3))
    expected = F.interpolate(x, (299, 299), mode="bilinear", align_corners=False)
    torch.testing.assert_close(rows @ x @ columns.T, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("matrix", "kernel"),
    [(pil_bicubic, Image.Resampling.BICUBIC), (pil_bilinear, Image.Resampling.BILINEAR)],
)
@pytest.mark.parametrize("shape", [(64, 48), (320, 500)])
def test_pillow_matrices_are_pillow(matrix: Any, kernel: Image.Resampling, shape: tuple[int, int]):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    resize = Resize("test", 224, matrix, offset=0, scale=1)
    ours = resize(image[None], CPU)[0, 0]
    pillow = Image.fromarray(image.astype(np.float32)).resize((224, 224), kernel)
    np.testing.assert_allclose(ours, np.clip(np.asarray(pillow), 0, 255), atol=2e-3)


def test_grey_is_repeated_and_scaled():
    grey = np.random.default_rng(0).integers(0, 256, (2, 32, 32), dtype=np.uint8)
    resize = Resize("test", 32, tf1_bilinear, offset=128, scale=128)
    x = resize(grey, CPU)
    np.testing.assert_allclose(x[:, 0], (grey.astype(np.float32) - 128) / 128, atol=1e-6)
    assert torch.equal(x, resize(np.repeat(grey[..., None], 3, axis=3), CPU))


def test_fold_equals_convolution_then_batch_norm():
    draw = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(2, 3, 9, 9, generator=draw), torch.randn(5, 3, 3, 3, generator=draw))
    scale, shift, mean = (torch.randn(5, generator=draw) for _ in range(3))
    var = torch.rand(5, generator=draw) + 0.1
    expected = F.batch_norm(F.conv2d(x, weight), mean, var, scale, shift, eps=1e-3)
    folded = F.conv2d(x, *fold(weight, scale, shift, mean, var))
    torch.testing.assert_close(folded, expected, atol=1e-4, rtol=1e-4)
    plain = F.conv2d(x, *fold(weight, None, None, mean, var))
    expected = F.batch_norm(F.conv2d(x, weight), mean, var, eps=1e-3)
    torch.testing.assert_close(plain, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("count", [0, 1, CHUNK["cpu"], CHUNK["cpu"] + 3])
def test_the_network_sees_whole_chunks_only(count: int):
    seen = []

    def network(x: torch.Tensor) -> torch.Tensor:
        seen.append(len(x))
        return x.mean(dim=(2, 3))

    images = np.random.default_rng(0).integers(0, 256, (count, 8, 8), dtype=np.uint8)
    resize = Resize("test", 8, tf1_bilinear, offset=0, scale=1)
    features = Extractor("test", "test", 3, resize, "none", network, CPU)(images)
    assert seen == [CHUNK["cpu"]] * -(-count // CHUNK["cpu"])
    expected = images.mean(axis=(1, 2))[:, None].repeat(3, axis=1)
    np.testing.assert_allclose(features, expected, rtol=1e-6)


def test_a_feature_that_is_not_finite_names_the_image(stores: Any):
    images = np.full((9, 8, 8), 10, np.uint8)
    images[6] = 0  # its mean is 0, so its logarithm is not finite
    store = stores("black", images)
    network = lambda x: x.mean(dim=(2, 3)).log()  # noqa: E731
    resize = Resize("test", 8, tf1_bilinear, offset=0, scale=1)
    extractor = Extractor("test", "test", 3, resize, "none", network, CPU)
    with pytest.raises(EchoSweepError, match=r"image 6 .*video second, frame 2"):
        list(extract(store, store.rows(), extractor, batch=4))
