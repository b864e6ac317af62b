"""Inception-2015-12-05 against torch-fidelity's, from each kind of file that can hold it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

from echosweep.errors import EchoSweepError, UsageError
from echosweep.evaluation.features import Extractor, Options
from echosweep.evaluation.inception import layout
from echosweep.evaluation.inception_file import aligned, build_inception
from echosweep.published import INCEPTION

Images = NDArray[np.uint8]
State = dict[str, torch.Tensor]


def build(path: Path, dims: int | None = None, resize: str = "edm") -> Extractor:
    return build_inception(
        Options(path, resize=resize, dims=dims, allow_unknown_weights=True, device="cpu")
    )


def sampled(features: NDArray[np.float32]) -> NDArray[np.float32]:
    return features[:, :: features.shape[1] // 8][:, :8]


@pytest.mark.parametrize("dims", [64, 192, 768, 2048])
def test_every_layer_agrees_with_torch_fidelity(
    dims: int, full_weights: Path, images: Images, golden: Path
):
    expected = json.loads((golden / "inception.json").read_text())["drawn"][str(dims)]
    features = build(full_weights, dims)(images)
    assert features.shape == (2, dims)
    np.testing.assert_allclose(sampled(features), expected, atol=1e-4)


@pytest.mark.parametrize("dims", [64, 192, 768])
def test_real_weights_agree_with_torch_fidelity(
    dims: int, partial_weights: Path, images: Images, golden: Path
):
    expected = json.loads((golden / "inception.json").read_text())["folded"][str(dims)]
    extractor = build_inception(Options(partial_weights, dims=dims))
    np.testing.assert_allclose(sampled(extractor(images)), expected, atol=2e-5)


def test_only_2048_features_are_called_fid(full_weights: Path, partial_weights: Path):
    full, part = build(full_weights), build_inception(Options(partial_weights))
    assert (full.metric, full.dims) == ("fid", 2048)
    assert (part.metric, part.dims) == ("fid768", 768)
    assert any("not FID" in note for note in part.notes)
    assert any("unknown" in note for note in full.notes)
    assert part.weights in INCEPTION.known
    with pytest.raises(UsageError, match=r"--dims 2048: .* 64, 192, 768 only"):
        build_inception(Options(partial_weights, dims=2048))


def test_resizes_are_different_networks(full_weights: Path, images: Images):
    made = {name: build(full_weights, 64, name) for name in ("edm", "pytorch-fid", "clean")}
    assert len({extractor.signature for extractor in made.values()}) == 3
    edm, torch_fid, clean = (extractor(images) for extractor in made.values())
    assert np.abs(edm - torch_fid).max() > 1e-3
    assert np.abs(edm - clean).max() > 1e-3
    with pytest.raises(UsageError, match="'nearest' is not one of edm, pytorch-fid, clean"):
        build(full_weights, 64, "nearest")


def test_folded_safetensors_give_the_same_features(
    state_dict: State, full_weights: Path, images: Images, tmp_path: Path
):
    folded = aligned(state_dict, full_weights)
    path = tmp_path / "folded.safetensors"
    parts = {f"{name}.conv.weight": weight for name, (weight, _) in folded.items()}
    parts |= {f"{name}.conv.bias": bias for name, (_, bias) in folded.items()}
    save_file(parts, path)
    np.testing.assert_array_equal(build(path, 768)(images), build(full_weights, 768)(images))


LEAVES = {
    "plain": {"weight": "weight", "shift": "beta", "mean": "mean", "var": "var"},
    "nested": {
        "weight": "conv.weight",
        "shift": "bn.bias",
        "mean": "bn.running_mean",
        "var": "bn.running_var",
    },
}
STATE = {
    "weight": "conv.weight",
    "shift": "bn.bias",
    "mean": "bn.running_mean",
    "var": "bn.running_var",
}


def script_path(flat: str) -> str:
    """Nest a TorchScript name as NVIDIA's file does: not in the last two blocks."""
    found = re.fullmatch(r"layers_(mixed(?:_\d+)?)_(.*)", flat)
    if not found:
        return flat.replace("layers_", "layers.")
    block, rest = found.groups()
    if block not in ("mixed_9", "mixed_10"):
        rest = re.sub(r"(tower(?:_\d)?)_(conv.*)", r"\1.\2", rest)
    return f"layers.{block}.{rest}"


def scripted(state: State, leaves: dict[str, str], path: Path) -> Path:
    """Save a TorchScript module with the tensors of `state` under NVIDIA's names."""
    root = nn.Module()
    for conv in layout():
        for part, leaf in leaves.items():
            *parents, last = f"{script_path(conv.script)}.{leaf}".split(".")
            module = root
            for parent in parents:
                if not hasattr(module, parent):
                    module.add_module(parent, nn.Module())
                module = getattr(module, parent)
            module.register_buffer(last, state[f"{conv.name}.{STATE[part]}"])
    torch.jit.save(torch.jit.script(root), path)
    return path


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("leaves", LEAVES)
def test_torchscript_gives_the_same_features(
    leaves: str, state_dict: State, full_weights: Path, images: Images, tmp_path: Path
):
    path = scripted(state_dict, LEAVES[leaves], tmp_path / "inception.pt")
    np.testing.assert_array_equal(build(path)(images), build(full_weights)(images))


def test_missing_weights_say_where_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UsageError, match=r"6726825d\.pth.*--inception.*efficientnet-lite0"):
        build_inception(Options())
    monkeypatch.setenv("ECHOSWEEP_INCEPTION", str(tmp_path / "gone.pth"))
    with pytest.raises(UsageError, match=r"no Inception weights file .*gone\.pth"):
        build_inception(Options())


def test_weights_come_from_the_environment(full_weights: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ECHOSWEEP_INCEPTION", str(full_weights))
    assert build_inception(Options(allow_unknown_weights=True)).dims == 2048


def test_unknown_weights_are_refused_before_they_are_read(full_weights: Path):
    with pytest.raises(UsageError, match=r"SHA-256 \w{64}.*--allow-unknown-weights"):
        build_inception(Options(full_weights))


def test_another_network_is_refused(state_dict: State, tmp_path: Path):
    changed = state_dict | {"Mixed_5b.branch1x1.conv.weight": torch.zeros(64, 100, 1, 1)}
    torch.save(changed, tmp_path / "changed.pth")
    with pytest.raises(EchoSweepError, match=r"Mixed_5b\.branch1x1 .*\(64, 192, 1, 1\)"):
        build(tmp_path / "changed.pth")
    torch.save({"fc.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(EchoSweepError, match="0 of the 94 convolutions"):
        build(tmp_path / "other.pth")


def test_a_width_that_inception_does_not_have_is_refused(full_weights: Path):
    with pytest.raises(UsageError, match="--dims 100: Inception has 64, 192, 768, 2048"):
        build(full_weights, 100)
