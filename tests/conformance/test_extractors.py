"""What every feature extractor promises: to be registered is to be tested."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from echosweep.errors import UsageError
from echosweep.evaluation import EXTRACTORS
from echosweep.evaluation.dinov2 import layout
from echosweep.evaluation.features import Extractor, Options

INCEPTION = Path("inception", "inception2015_bnfolded_to_Mixed_7a_fp32.safetensors")


@pytest.fixture(scope="module", params=EXTRACTORS)
def extractor(request: pytest.FixtureRequest) -> Extractor:
    options = Options(device="cpu")
    if request.param == "inception":
        weights = request.getfixturevalue("shared_data") / INCEPTION
        if not weights.is_file():
            pytest.skip(f"no {weights}")
        options = replace(options, inception=weights)
    if request.param == "dinov2":
        weights = request.getfixturevalue("drawn_dinov2")
        options = replace(options, dinov2=weights, allow_unknown_weights=True)
    return EXTRACTORS[request.param](options)


@pytest.fixture(scope="module")
def drawn_dinov2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DINOv2 ViT-S/14 of drawn weights."""
    draw = torch.Generator().manual_seed(0)
    tensors = {
        name: torch.randn(shape, generator=draw) * 0.05 + 0.5 * name.endswith(("gamma", "m.weight"))
        for name, shape in layout(384, 12).items()
    }
    path = tmp_path_factory.mktemp("weights") / "dinov2.safetensors"
    safetensors.torch.save_file(tensors, path)
    return path


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 40, 56), dtype=np.uint8)


def test_it_has_the_name_of_its_row(extractor: Extractor):
    assert extractor.name in EXTRACTORS
    assert len(extractor.signature) == 16


def test_only_inception_at_2048_is_called_fid(extractor: Extractor):
    assert (extractor.metric == "fid") == (extractor.name == "inception" and extractor.dims == 2048)


def test_grey_and_colour_give_finite_float32_features(extractor: Extractor, images: np.ndarray):
    grey = extractor(images)
    assert grey.dtype == np.float32
    assert grey.shape == (3, extractor.dims)
    assert np.isfinite(grey).all()
    colour = extractor(np.repeat(images[..., None], 3, axis=3))
    np.testing.assert_allclose(grey, colour, atol=1e-4)


def test_an_image_has_its_features_whatever_the_batch(extractor: Extractor, images: np.ndarray):
    np.testing.assert_array_equal(extractor(images)[2:], extractor(images[2:]))


def test_images_are_told_apart_and_left_alone(extractor: Extractor, images: np.ndarray):
    before = images.copy()
    features = extractor(images)
    assert np.abs(features[0] - features[1]).max() > 1e-3
    np.testing.assert_array_equal(images, before)


def test_black_and_white_images_are_fine(extractor: Extractor):
    flat = np.stack([np.zeros((16, 16), np.uint8), np.full((16, 16), 255, np.uint8)])
    assert np.isfinite(extractor(flat)).all()


def test_fp16_rounds_and_no_more(extractor: Extractor, images: np.ndarray):
    rounded, plain = replace(extractor, precision="fp16"), extractor(images)[:1]
    found = rounded._forward(images[:1])  # a CPU takes seconds an image
    apart = np.linalg.norm(found - plain) / np.linalg.norm(plain)
    assert 0 < apart < 0.02  # 2^-11 an operation, some tens of them one after another
    assert rounded.signature != extractor.signature
    assert rounded.describe()["precision"] == "fp16"


@pytest.mark.parametrize("name", EXTRACTORS)
def test_a_width_it_does_not_have_is_refused(name: str):
    with pytest.raises(UsageError, match="--dims 7"):
        EXTRACTORS[name](Options(dims=7))
