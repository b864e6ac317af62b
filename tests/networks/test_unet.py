"""Whole U-Nets: published sizes, golden outputs, and what is refused."""

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from echosweep.diffusion import FRAMEWORKS, Denoiser
from echosweep.errors import UsageError
from echosweep.networks import NETWORKS, describe
from echosweep.networks.unet import check_resolution


def on_meta(name, resolution=64, channels=1, **overrides):
    with torch.device("meta"):
        return NETWORKS[name](resolution, channels, channels, **overrides)


@pytest.mark.parametrize(
    ("name", "grey", "colour"),
    [
        ("adm", 295_124_353, 295_131_267),
        ("ddpmpp", 55_725_825, 55_732_739),
        ("ddpmpp-64", 61_799_809, 61_804_419),
        ("ncsnpp", 56_384_001, 56_395_523),
        ("ncsnpp-64", 62_751_873, 62_758_787),
    ],
)
def test_parameter_counts_are_the_published_ones(name, grey, colour):
    for channels, count in ((1, grey), (3, colour)):
        network = on_meta(name, channels=channels)
        assert sum(p.numel() for p in network.parameters()) == count


@pytest.mark.parametrize(
    ("name", "giga", "attention_blocks"),
    [("adm", 109.6, 22), ("ddpmpp", 83.2, 6), ("ddpmpp-64", 41.8, 6), ("ncsnpp-64", 42.4, 6)],
)
def test_multiply_adds_and_attention_blocks(name, giga, attention_blocks):
    facts = describe(on_meta(name))
    assert facts["multiply_adds"] / 1e9 == pytest.approx(giga, rel=0.01)
    assert facts["attention_blocks"] == attention_blocks


def fill(network: nn.Module) -> None:
    """Set every parameter by the rule in golden/networks.json, which needs no names."""
    for module in network.modules():
        for p in module.parameters(recurse=False):
            i = torch.arange(p.numel(), dtype=torch.float64).reshape(p.shape)
            if isinstance(module, nn.GroupNorm):
                scale = p is module.weight
                value = 1 + 0.1 * i.sin() if scale else 0.1 * i.cos()
            elif p.ndim > 1:
                value = (0.7 * i + 0.3).sin() / math.sqrt(p[0].numel())
            else:
                value = 0.05 * (1.3 * i).cos()
            p.data = value.float()
        if hasattr(module, "frequencies") and isinstance(module.frequencies, torch.Tensor):
            i = torch.arange(len(module.frequencies), dtype=torch.float64)
            module.frequencies = (16 * (i + 1).sin()).float()


@pytest.mark.parametrize("key", ["adm/edm", "ddpmpp/edm", "ncsnpp/edm", "ddpmpp/vp"])
def test_golden_outputs(key, golden: Path):
    expected = json.loads((golden / "networks.json").read_text())["nets"][f"{key}/c1"]
    name, framework = key.split("/")
    width = 64 if name == "adm" else 32
    shape = {"channel_mult": (1, 2), "num_blocks": 1, "attention_factors": (2,)}
    network = NETWORKS[name](16, 1, 1, model_channels=width, **shape)
    fill(network)
    x = (0.013 * torch.arange(512, dtype=torch.float64) + 0.1).cos().reshape(2, 1, 16, 16).float()
    with torch.no_grad():
        D = Denoiser(network, FRAMEWORKS[framework]).eval()(x, torch.tensor([0.5, 3.0])).double()
    assert sum(p.numel() for p in network.parameters()) == expected["params"]
    assert float(D.mean()) == pytest.approx(expected["mean"], rel=2e-5)
    assert float(D.std()) == pytest.approx(expected["std"], rel=2e-5)
    assert D[0, 0, 0, :8].tolist() == pytest.approx(expected["first8"], rel=2e-5, abs=2e-6)
    assert D[1, -1, -1, -4:].tolist() == pytest.approx(expected["last4"], rel=2e-5, abs=2e-6)


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("adm", {"attention_factors": (16,)}, r"\[16\] name no level.*\[1, 2, 4, 8\]"),
        ("adm", {"model_channels": 32, "attention_factors": (1, 8)}, "num_heads=1"),
        ("ddpmpp", {"channel_mult": ()}, "is empty"),
        ("ddpmpp", {"num_blocks": 0}, "is empty"),
        ("ddpmpp", {"model_channels": 50}, "cannot be normalised"),
    ],
)
def test_impossible_shapes_are_refused(name, overrides, message):
    with pytest.raises(UsageError, match=message):
        on_meta(name, **overrides)


def test_a_size_that_cannot_be_halved_names_the_nearest_ones():
    with pytest.raises(UsageError, match=r"100x100 .* 3 times.* 96x96 and 104x104"):
        on_meta("adm", 100)
    with pytest.raises(UsageError, match=r"112x90 .* 112x88 and 112x92"):
        on_meta("ddpmpp", (112, 90))
    assert on_meta("adm", 112).resolution == (112, 112)


@given(st.integers(-3, 300), st.integers(1, 300), st.integers(1, 6))
def test_sizes_named_in_the_error_are_accepted(height, width, levels):
    try:
        assert check_resolution((height, width), levels) == (height, width)
        assert height % 2 ** (levels - 1) == width % 2 ** (levels - 1) == 0
    except UsageError as error:
        sizes = str(error).split("accepts are ")[1].split(" and ")
        for size in sizes:
            named = tuple(map(int, size.split("x")))
            assert check_resolution(named, levels) == named


def test_labels_of_another_width_are_refused():
    network = NETWORKS["ddpmpp-tiny"](16, 1, 1, label_dim=3)
    x, c_noise = torch.zeros(2, 1, 16, 16), torch.zeros(2)
    with pytest.raises(UsageError, match=r"\(2, 4\) do not fit 2 images and 3 classes"):
        network(x, c_noise, torch.zeros(2, 4))


def test_initial_weights():
    adm = NETWORKS["adm-tiny"](16, 1, 1, label_dim=2)
    block = adm.encoder.levels[0].blocks[0]
    bound = 1 / math.sqrt(16 * 9)
    assert float(block.conv0.weight.detach().abs().max()) == pytest.approx(bound, rel=0.01)
    assert not block.conv1.weight.any()
    assert not adm.head.weight.any()

    song = NETWORKS["ddpmpp-tiny"](16, 1, 1)
    block, bound = song.encoder.levels[0].blocks[0], math.sqrt(6 / (16 * 9 * 2))
    assert float(block.conv0.weight.detach().abs().max()) == pytest.approx(bound, rel=0.01)
    assert float(block.conv1.weight.detach().abs().max()) == pytest.approx(1e-5 * bound, rel=0.01)
    assert not block.conv0.bias.any()
    qkv = song.encoder.levels[2].blocks[0].attention.qkv.weight.detach()
    assert float(qkv.abs().max()) == pytest.approx(math.sqrt(0.2 * 6 / (64 * 4)), rel=0.01)
