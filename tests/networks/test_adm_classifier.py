"""ADM's classifier against OpenAI's own graph, and files that are not it."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from echosweep import rng
from echosweep.errors import EchoSweepError
from echosweep.networks.adm_classifier import AdmClassifier


@pytest.fixture(scope="module")
def expected(golden: Path) -> dict[str, Any]:
    return json.loads((golden / "adm_classifier.json").read_text())  # type: ignore[no-any-return]


def drawn_weights(shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    """Every tensor of the published file, drawn by name from a seed."""
    return {name: _drawn(name, shape) for name, shape in shapes.items()}


def _drawn(name: str, shape: list[int]) -> Tensor:
    draw = torch.randn(shape, generator=rng.generator("synthetic-adm-classifier", name))
    if len(shape) > 1:
        return draw / math.prod(shape[1:]) ** 0.5
    norm = name.endswith((".norm.weight", "in_layers.0.weight", "out_layers.0.weight"))
    return 0.1 * draw + norm


def zeros(shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    """Tensors that share one number: only their names and shapes matter."""
    return {name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}


def test_features_equal_openai_s(expected: dict[str, Any]) -> None:
    """Against float64, within the rounding of float32: 1e-5 of the features' spread of 3.8."""
    classifier = AdmClassifier()
    classifier.load_published(drawn_weights(expected["shapes"]), "drawn")
    i = torch.arange(2 * 3 * 64 * 64, dtype=torch.float64)
    x = (0.013 * i + 0.1).cos().reshape(2, 3, 64, 64).float()
    with torch.no_grad():
        features = classifier(x, torch.tensor(expected["timesteps"]))
    assert features.shape == (2, 512, 8, 8)
    published = torch.tensor(expected["features"])
    torch.testing.assert_close(features[:, ::64, ::4, ::4], published, atol=4e-5, rtol=0)


def test_names_and_shapes_are_openai_s(expected: dict[str, Any]) -> None:
    with torch.device("meta"):
        layout = AdmClassifier().published_layout()
    published = {name: tuple(shape) for name, shape in expected["shapes"].items()}
    assert layout == {k: shape for k, shape in published.items() if not k.startswith("out.")}
    assert sum(map(math.prod, published.values())) == 65_438_568  # table 12: 65 M


def test_other_sizes_than_64_work() -> None:
    classifier = AdmClassifier(64, (1, 1), 1, (2,))
    x = torch.randn(2, 3, 24, 40)
    assert classifier(x, torch.tensor([3, 990])).shape == (2, 64, 12, 20)


def _with_a_decoder(tensors: dict[str, Tensor]) -> None:
    tensors["output_blocks.0.0.in_layers.0.weight"] = torch.zeros(1024)


def _less_deep(tensors: dict[str, Tensor]) -> None:
    for name in [name for name in tensors if name.startswith("input_blocks.19.")]:
        del tensors[name]


def _wider(tensors: dict[str, Tensor]) -> None:
    tensors["time_embed.0.weight"] = torch.zeros(768, 192)


def _with_a_number_for_a_matrix(tensors: dict[str, Tensor]) -> None:
    tensors["middle_block.1.qkv.weight"] = torch.zeros(())


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (_with_a_decoder, "a tensor output_blocks.0.0.in_layers.0.weight"),
        (_less_deep, "no tensor input_blocks.19.0.emb_layers.1.bias"),
        (_wider, r"time_embed.0.weight has shape \(768, 192\), not \(512, 128\)"),
        (_with_a_number_for_a_matrix, r"qkv.weight has shape \(\), not \(1536, 512, 1\)"),
        (dict.clear, "no tensor input_blocks.0.0.bias"),
    ],
)
def test_another_network_is_refused(
    change: Callable[[dict[str, Tensor]], None], problem: str, expected: dict[str, Any]
) -> None:
    tensors = zeros(expected["shapes"])
    change(tensors)
    with torch.device("meta"):
        classifier = AdmClassifier()
    with pytest.raises(EchoSweepError, match=rf"x\.pt: .*{problem}"):
        classifier.load_published(tensors, "x.pt")
