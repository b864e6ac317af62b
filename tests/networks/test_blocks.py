"""The parts of a U-Net against their definitions."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from echosweep.errors import UsageError
from echosweep.networks.adm_unet import ADM
from echosweep.networks.blocks import Attention, Block, PositionalFrequencies, Resample
from echosweep.networks.song_unet import SONG
from echosweep.networks.unet import ResidualInput


def depthwise(x, taps, direction, padding):
    """The definition: outer(f, f) / sum(f)^2, stride 2; transposed with 4 times the filter."""
    f = torch.tensor(taps, dtype=x.dtype)
    kernel = (f.outer(f) / f.sum() ** 2).repeat(x.shape[1], 1, 1, 1)
    if direction == "down":
        return F.conv2d(x, kernel, stride=2, padding=padding, groups=x.shape[1])
    return F.conv_transpose2d(x, 4 * kernel, stride=2, padding=padding, groups=x.shape[1])


@pytest.mark.parametrize("taps", [(1, 1), (1, 3, 3, 1)])
@pytest.mark.parametrize("direction", ["down", "up"])
def test_resample_is_the_depthwise_filter(taps, direction):
    x = torch.randn(2, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    y = Resample(taps, direction)(x)
    torch.testing.assert_close(y, depthwise(x, taps, direction, (len(taps) - 1) // 2))
    assert y.shape[2:] == ((4, 6) if direction == "down" else (16, 24))


@pytest.mark.parametrize("taps", [(1, 1), (1, 3, 3, 1)])
def test_resampling_keeps_the_mean_of_a_flat_image(taps):
    flat = torch.full((1, 2, 8, 8), 0.7)
    for direction in ("down", "up"):
        inner = Resample(taps, direction)(flat)[..., 1:-1, 1:-1]
        torch.testing.assert_close(inner, torch.full_like(inner, 0.7))


def test_residual_input_is_convolution_then_filter():
    style = replace(SONG, filter=(1, 3, 3, 1))
    layer = ResidualInput(2, 5, style)
    x = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    convolved = F.conv2d(x, layer.conv.weight, layer.conv.bias, padding=2)
    expected = depthwise(convolved, (1, 3, 3, 1), "down", 0)
    torch.testing.assert_close(layer(x), expected)
    assert layer(x).shape == (1, 5, 4, 4)


@pytest.mark.parametrize("heads", [1, 2])
def test_attention_is_softmax_of_q_k_over_all_pixels(heads):
    style = replace(ADM, num_heads=heads, output_gain=1.0)
    layer, c = Attention(8, style).double(), 8
    x = torch.randn(1, c, 2, 3, generator=torch.Generator().manual_seed(2)).double()
    qkv = layer.qkv(layer.norm(x)).flatten(2)[0]
    out = torch.zeros(c, 6, dtype=torch.float64)
    for head in range(heads):
        rows = range(head * c // heads, (head + 1) * c // heads)
        q, k, v = (torch.stack([qkv[row * 3 + part] for row in rows]) for part in range(3))
        weights = (q.T @ k / math.sqrt(c // heads)).softmax(dim=1)
        out[rows.start : rows.stop] = v @ weights.T
    expected = x + layer.proj(out.reshape(1, c, 2, 3))
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("style", [ADM, SONG], ids=["adm", "song"])
def test_a_new_block_passes_x_on(style):
    block = Block(128, 128, 16, style, attention=True).eval()
    x = torch.randn(2, 128, 4, 4, generator=torch.Generator().manual_seed(3))
    scale = style.residual_scale**2  # once after the block, once after the attention
    torch.testing.assert_close(block(x, torch.ones(2, 16)), x * scale, atol=2e-4, rtol=0)


def test_adaptive_scale_and_added_embedding():
    x, emb = torch.randn(1, 128, 4, 4), torch.randn(1, 16)
    block = Block(128, 128, 16, ADM)
    torch.nn.init.ones_(block.conv1.weight)
    h = block.conv0(F.silu(block.norm0(x)))
    scale, shift = block.affine(emb)[:, :, None, None].split(128, dim=1)
    h = block.conv1(F.silu(shift + block.norm1(h) * (1 + scale)))
    torch.testing.assert_close(block(x, emb), x + h)

    block = Block(128, 128, 16, SONG)
    h = block.conv0(F.silu(block.norm0(x))) + block.affine(emb)[:, :, None, None]
    h = block.conv1(F.silu(block.norm1(h)))
    torch.testing.assert_close(block(x, emb), (x + h) * math.sqrt(0.5))


def test_where_a_skip_has_weights():
    assert isinstance(Block(64, 64, 16, ADM, "down").skip, torch.nn.Identity)
    assert isinstance(Block(64, 64, 16, SONG, "down").skip, torch.nn.Conv2d)
    assert isinstance(Block(64, 64, 16, SONG).skip, torch.nn.Identity)
    for style in (ADM, SONG):
        assert isinstance(Block(64, 32, 16, style).skip, torch.nn.Conv2d)


def test_positional_frequencies(golden: Path):
    expected = json.loads((golden / "networks.json").read_text())
    expected = expected["positional embedding of 1.7, 8 channels, [cos, sin] before Song's swap"]
    for endpoint, values in ((False, expected["e=0"]), (True, expected["e=1"])):
        found = PositionalFrequencies(8, endpoint)(torch.tensor([1.7]))
        torch.testing.assert_close(found[0], torch.tensor(values), atol=1e-6, rtol=1e-5)


def test_narrow_attention_is_refused_unless_heads_are_given():
    with pytest.raises(UsageError, match=r"32 channels cannot have 0 heads.*num_heads=1"):
        Block(32, 32, 16, ADM, attention=True)
    one_head = replace(ADM, num_heads=1)
    assert Block(32, 32, 16, one_head, attention=True).attention.heads == 1
    assert Block(192, 192, 16, ADM, attention=True).attention.heads == 3


def test_channels_that_cannot_be_grouped_are_refused():
    with pytest.raises(UsageError, match="200 channels cannot be normalised"):
        SONG.norm(200)
    assert SONG.norm(144 - 16).num_groups == 32
    assert SONG.norm(32).num_groups == 8
