"""The parts of a discriminator: the published head, its pool, and a U-Net's own features."""

import math

import pytest
import torch
from torch import Tensor

from echosweep.networks import NETWORKS
from echosweep.networks.discriminator import AttentionPool, Head, Logit, UNetFeatures


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_head_has_the_published_parameters() -> None:
    assert parameters(Head(512, (8, 8))) == 2_883_841


def test_the_head_grows_by_one_position_a_pixel() -> None:
    """Nothing else in it depends on the size: 14 x 14 features are those of 112 px."""
    assert parameters(Head(512, (14, 14))) - parameters(Head(512, (8, 8))) == 128 * (196 - 64)


def test_the_head_gives_each_image_its_own_number() -> None:
    head = Head(64, (2, 3), width=32, num_blocks=1).eval()
    torch.nn.init.normal_(head.encoder.stem.weight)
    features, c_noise = torch.randn(5, 64, 2, 3), torch.linspace(0, 999, 5)
    whole = head(features, c_noise)
    assert whole.shape == (5,)
    alone = torch.cat([head(features[i : i + 1], c_noise[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(whole, alone)
    assert float(whole.detach().std()) > 0


def pooled(pool: AttentionPool, x: Tensor) -> Tensor:
    """The definition, one image and one head at a time (Radford et al. 2021, section 2.4)."""
    rows = []
    for image in x.flatten(2):
        tokens = torch.cat([image.mean(1, keepdim=True), image], 1) + pool.positions
        q, k, v = (pool.qkv.weight[..., 0] @ tokens + pool.qkv.bias[:, None]).chunk(3)
        width = len(q) // pool.heads
        found = []
        for head in range(pool.heads):
            part = slice(head * width, (head + 1) * width)
            weights = ((q[part, 0] @ k[part]) / math.sqrt(width)).softmax(0)
            found.append(v[part] @ weights)
        rows.append(pool.proj.weight[..., 0] @ torch.cat(found) + pool.proj.bias)
    return torch.stack(rows)


@pytest.mark.parametrize(("channels", "heads"), [(32, 1), (192, 3)])
def test_the_pool_is_its_definition(channels: int, heads: int) -> None:
    pool = AttentionPool(channels, (3, 5), outputs=7).double()
    x = 3 * torch.randn(4, channels, 3, 5, dtype=torch.float64)
    assert pool.heads == heads
    torch.testing.assert_close(pool(x), pooled(pool, x), rtol=1e-12, atol=1e-12)


def test_the_pool_knows_where_things_are() -> None:
    """By its positions alone: without them the order of the pixels changes nothing."""
    pool, x = AttentionPool(64, (4, 4), 1).double(), torch.randn(2, 64, 4, 4).double()
    assert float((pool(x) - pool(x.flip(3))).detach().abs().max()) > 1e-6
    torch.nn.init.zeros_(pool.positions)
    torch.testing.assert_close(pool(x), pool(x.flip(3)), rtol=1e-12, atol=1e-12)


def test_the_logit_is_the_pool_of_the_normalised_features() -> None:
    logit, x = Logit(64, (2, 2)), torch.randn(3, 64, 2, 2)
    normalised = torch.nn.functional.group_norm(x, 16)
    expected = pooled(logit.pool, normalised * normalised.sigmoid())[:, 0]
    torch.testing.assert_close(logit(x), expected)


@pytest.mark.parametrize("name", ["adm-tiny", "ddpmpp-tiny", "ncsnpp-tiny"])
@pytest.mark.parametrize("label_dim", [0, 3])
def test_features_are_the_deepest_of_the_u_net_s_own_encoder(name: str, label_dim: int) -> None:
    unet = NETWORKS[name]((16, 24), 1, 1, label_dim=label_dim).eval()
    for parameter in unet.parameters():  # a new block passes its input on: draw what it would add
        torch.nn.init.normal_(parameter, std=0.2)
    features = UNetFeatures(unet)
    seen: list[Tensor] = []
    unet.encoder.register_forward_hook(lambda _module, _inputs, outputs: seen.append(outputs[-1]))
    x, c_noise = torch.randn(2, 1, 16, 24), torch.tensor([-0.5, 1.0])
    with torch.no_grad():
        unet(x, c_noise)
        mine = features(x, c_noise)
    assert torch.equal(mine, seen[0])
    assert mine.shape == (2, features.channels, *features.size) == (2, 64, 4, 6)
