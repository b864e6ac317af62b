"""DINOv2 against transformers' graph, both layouts of its weights, and files that are wrong."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from echosweep import rng
from echosweep.errors import EchoSweepError, UsageError
from echosweep.evaluation.dinov2 import (
    RESIZE,
    SIZES,
    DINOv2,
    aligned,
    build_dinov2,
    layout,
)
from echosweep.evaluation.features import Options
from echosweep.published import DINOV2
from echosweep.weights import read_tensors

CPU = torch.device("cpu")


def drawn_weights(width: int, depth: int) -> dict[str, Tensor]:
    """Every tensor of a DINOv2 under Meta's names, drawn by name from a seed."""
    return {name: _drawn(name, shape) for name, shape in layout(width, depth).items()}


def _drawn(name: str, shape: tuple[int, ...]) -> Tensor:
    draw = torch.randn(shape, generator=rng.generator("synthetic-dinov2", name))
    if name.endswith(("gamma", "norm.weight", "norm1.weight", "norm2.weight")):
        return 1 + 0.1 * draw
    if len(shape) in (2, 4):
        return draw / float(np.prod(shape[1:])) ** 0.5
    return 0.3 * draw


def hugging_face(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights as transformers writes them into model.safetensors."""
    outside = {
        "cls_token": "embeddings.cls_token",
        "pos_embed": "embeddings.position_embeddings",
        "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
        "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
        "norm.weight": "layernorm.weight",
        "norm.bias": "layernorm.bias",
    }
    inside = {
        "attn.proj": "attention.output.dense",
        "ls1.gamma": "layer_scale1.lambda1",
        "ls2.gamma": "layer_scale2.lambda1",
    }
    result = {"embeddings.mask_token": torch.zeros(1, tensors["cls_token"].shape[-1])}
    for name, tensor in tensors.items():
        _, number, rest = name.split(".", 2) if name.startswith("blocks.") else ("", "", name)
        if not number:
            result[outside[name]] = tensor
        elif rest.startswith("attn.qkv."):
            for part, piece in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                end = rest.removeprefix("attn.qkv")
                other = f"encoder.layer.{number}.attention.attention.{part}{end}"
                result[other] = piece.clone()
        else:
            for meta, other in inside.items():
                rest = rest.replace(meta, other)
            result[f"encoder.layer.{number}.{rest}"] = tensor
    return result


@pytest.fixture(scope="module")
def tiny() -> dict[str, Tensor]:
    """Two blocks, two heads: the graph of the real sizes in little."""
    return drawn_weights(128, 2)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the size and layout of dinov2_vits14_pretrain.pth, with drawn weights."""
    path = tmp_path_factory.mktemp("weights") / "dinov2_vits14.pth"
    torch.save(drawn_weights(384, 12) | {"mask_token": torch.zeros(1, 384)}, path)
    return path


def options(path: Path | None, **chosen: object) -> Options:
    return Options(dinov2=path, device="cpu", **({"allow_unknown_weights": True} | chosen))  # type: ignore[arg-type]


def test_features_equal_transformers(
    tiny: dict[str, Tensor], images: NDArray[np.uint8], golden: Path
):
    expected = json.loads((golden / "dinov2.json").read_text())
    features = DINOv2(tiny, CPU)(RESIZE(images, CPU))[:, ::8]
    np.testing.assert_allclose(features, expected["features"], atol=1e-5)


def test_positions_are_resized_as_meta_does(
    tiny: dict[str, Tensor], images: NDArray[np.uint8], golden: Path
):
    """transformers' own resize of the position embedding gives other features."""
    other = json.loads((golden / "dinov2.json").read_text())["huggingface_positions"]
    features = DINOv2(tiny, CPU)(RESIZE(images, CPU))[:, ::8].numpy()
    assert np.abs(features - other).max() > 0.01


def test_both_layouts_give_the_same_tensors(tiny: dict[str, Tensor], golden: Path, tmp_path: Path):
    """The names are those that transformers wrote, and the file passes through its own format."""
    translated = hugging_face(tiny)
    expected = json.loads((golden / "dinov2.json").read_text())["huggingface_names"]
    assert sorted(translated) == expected
    safetensors.torch.save_file(translated, tmp_path / "model.safetensors")
    torch.save(tiny, tmp_path / "meta.pth")
    one = aligned(read_tensors(tmp_path / "model.safetensors"))
    two = aligned(read_tensors(tmp_path / "meta.pth"))
    assert one.keys() == two.keys() == tiny.keys()
    assert all(torch.equal(one[name], two[name]) for name in tiny)


def test_imagenet_s_mean_and_deviation_are_folded_exactly(tiny: dict[str, Tensor]):
    x = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    scaled = (x - mean[:, None, None]) / std[:, None, None]
    weight, bias = tiny["patch_embed.proj.weight"], tiny["patch_embed.proj.bias"]
    folded = DINOv2(tiny, CPU)._weights
    torch.testing.assert_close(
        F.conv2d(x, folded["patch_embed.proj.weight"], folded["patch_embed.proj.bias"], 14),
        F.conv2d(scaled, weight, bias, 14),
        atol=2e-5,
        rtol=0,
    )


def test_a_file_of_the_small_size_gives_384_features(small: Path, images: NDArray[np.uint8]):
    extractor = build_dinov2(options(small))
    assert (extractor.name, extractor.metric, extractor.dims) == ("dinov2", "fd_dinov2_vits14", 384)
    assert extractor.weights not in DINOV2.known
    assert extractor.notes == (
        f"unknown DINOv2 weights {extractor.weights}: compare with no published number",
    )
    features = extractor(images)
    assert features.shape == (2, 384)
    assert np.abs(features[0] - features[1]).max() > 0.1


@pytest.mark.parametrize(
    ("width", "parameters"), [(384, 22_056_576), (768, 86_580_480), (1024, 304_368_640)]
)
def test_the_sizes_have_the_published_parameters(width: int, parameters: int):
    """22.1 M, 86.6 M and 304.4 M, of which the mask token is not read."""
    shapes = layout(width, SIZES[width].depth).values()
    assert sum(int(np.prod(shape)) for shape in shapes) + width == parameters


def test_the_file_may_come_from_the_environment(small: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(DINOV2.variable, str(small))
    assert build_dinov2(options(None)).dims == 384


@pytest.mark.parametrize("given", [None, Path("nowhere.pth")])
def test_a_missing_file_says_where_to_get_it(given: Path | None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(DINOV2.variable, raising=False)
    with pytest.raises(UsageError, match=r"dinov2_vits14_pretrain\.pth.*--dinov2 PATH.*--features"):
        build_dinov2(options(given))


def test_an_unknown_file_is_refused_unless_it_is_meant(small: Path):
    with pytest.raises(UsageError, match="--allow-unknown-weights"):
        build_dinov2(options(small, allow_unknown_weights=False))


def test_a_width_the_file_does_not_have_is_refused(small: Path):
    with pytest.raises(UsageError, match="--dims 7: DINOv2 has 384, 768, 1024"):
        build_dinov2(options(None, dims=7))
    with pytest.raises(UsageError, match=r"--dims 768: .*vits14.* has 384 features"):
        build_dinov2(options(small, dims=768))


def _without_a_block(tensors: dict[str, Tensor]) -> None:
    for name in [name for name in tensors if name.startswith("blocks.11.")]:
        del tensors[name]


def _with_registers(tensors: dict[str, Tensor]) -> None:
    tensors["register_tokens"] = torch.zeros(1, 4, 384)


def _of_another_grid(tensors: dict[str, Tensor]) -> None:
    tensors["pos_embed"] = torch.zeros(1, 257, 384)


def _with_a_number_for_a_matrix(tensors: dict[str, Tensor]) -> None:
    tensors["blocks.3.mlp.fc1.weight"] = torch.zeros(())


def _with_numbers_for_a_query(tensors: dict[str, Tensor]) -> None:
    del tensors["blocks.0.attn.qkv.bias"]
    for part in ("query", "key", "value"):
        tensors[f"encoder.layer.0.attention.attention.{part}.bias"] = torch.zeros(())


def _without_a_key(tensors: dict[str, Tensor]) -> None:
    del tensors["blocks.0.attn.qkv.bias"]
    for part in ("query", "value"):
        tensors[f"encoder.layer.0.attention.attention.{part}.bias"] = torch.zeros(384)


def _of_another_width(tensors: dict[str, Tensor]) -> None:
    tensors["cls_token"] = torch.zeros(1, 1, 1536)


def _without_a_class_token(tensors: dict[str, Tensor]) -> None:
    del tensors["cls_token"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (_without_a_block, "it has no tensor blocks.11.attn.proj.bias"),
        (_with_registers, "it has a tensor register_tokens"),
        (_of_another_grid, r"pos_embed has shape \(1, 257, 384\), not \(1, 1370, 384\)"),
        (_with_a_number_for_a_matrix, r"blocks.3.mlp.fc1.weight has shape \(\)"),
        (_with_numbers_for_a_query, "it has a tensor blocks.0.attn.key.bias"),
        (_without_a_key, "it has no tensor blocks.0.attn.qkv.bias"),
        (_of_another_width, "a class token of another width"),
        (_without_a_class_token, "no class token"),
    ],
)
def test_a_file_of_another_network_is_refused(
    change: Callable[[dict[str, Tensor]], None], problem: str, tmp_path: Path
):
    """Tensors that share one number, so that the file is small; only their shapes matter here."""
    tensors = {name: torch.zeros(()).expand(shape) for name, shape in layout(384, 12).items()}
    change(tensors)
    torch.save(tensors, tmp_path / "other.pth")
    with pytest.raises(EchoSweepError, match=problem):
        build_dinov2(options(tmp_path / "other.pth"))


class _Calls:
    """What a hostile pickle would call."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.target,)


def test_a_hostile_or_cut_file_is_refused_and_not_run(small: Path, tmp_path: Path):
    hostile, cut, touched = tmp_path / "a.pth", tmp_path / "b.pth", tmp_path / "touched"
    hostile.write_bytes(pickle.dumps({"cls_token": _Calls(touched)}))
    cut.write_bytes(small.read_bytes()[:100_000])
    for path in (hostile, cut):
        with pytest.raises(EchoSweepError, match="no weights file that can be read safely"):
            build_dinov2(options(path))
    assert not touched.exists()
