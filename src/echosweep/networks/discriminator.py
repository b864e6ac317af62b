"""From a noisy image, or features of it, to one number: the parts of a discriminator.

An encoder is that of any U-Net here; the head is the one of Kim et al. 2023 (arXiv 2211.17091): a
level of ADM blocks, a middle, an attention pool, one logit. Invariant: on 512 x 8 x 8 features the
head has the 2,883,841 parameters of the published one.
"""

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from echosweep.networks.adm_unet import ADM, AdmEmbedding
from echosweep.networks.blocks import Block, Style
from echosweep.networks.unet import Embedding, Encoder, LevelPlan, UNet

_HEAD_CHANNELS = 64  # of an attention head


class UNetFeatures(nn.Module):
    """The embedding and the encoder of a U-Net: its deepest features."""

    def __init__(self, unet: UNet):
        super().__init__()
        self.embedding, self.encoder = unet.embedding, unet.encoder
        self.channels = unet.encoder.skips[-1]
        shrink = 2 ** (len(unet.encoder.levels) - 1)
        self.size = (unet.resolution[0] // shrink, unet.resolution[1] // shrink)

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        """Return (N,channels,*size) of x (N,C,H,W) at c_noise (N,), without a class."""
        labels = x.new_zeros(len(x), self.embedding.label_dim)
        features: Tensor = self.encoder(x, self.embedding(c_noise, labels))[-1]
        return features


class AttentionPool(nn.Module):
    """What the mean of all pixels finds in them, as one vector (Radford et al. 2021).

    Written as products and sums: a matrix product with a single row rounds by its place in a batch.
    """

    def __init__(self, channels: int, size: tuple[int, int], outputs: int):
        super().__init__()
        self.heads = max(1, channels // _HEAD_CHANNELS)
        tokens = size[0] * size[1] + 1
        self.positions = nn.Parameter(torch.randn(channels, tokens) / math.sqrt(channels))
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj = nn.Conv1d(channels, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N,outputs) from x (N,channels,*size)."""
        n, c = x.shape[:2]
        x = x.flatten(2)
        x = torch.cat([x.mean(dim=2, keepdim=True), x], dim=2) + self.positions
        q, k, v = self.qkv(x).reshape(n, 3, self.heads, c // self.heads, -1).unbind(1)
        weights = ((q[..., :1] * k).sum(dim=2) / math.sqrt(c // self.heads)).softmax(dim=-1)
        pooled = (weights[:, :, None] * v).sum(dim=-1).reshape(n, 1, c)
        y: Tensor = (pooled * self.proj.weight[..., 0]).sum(dim=-1) + self.proj.bias
        return y


class Logit(nn.Module):
    """norm, silu, attention pool: from features (N,channels,*size) to (N,)."""

    def __init__(self, channels: int, size: tuple[int, int], style: Style = ADM):
        super().__init__()
        self.norm, self.pool = style.norm(channels), AttentionPool(channels, size, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return one number an image, (N,)."""
        y: Tensor = self.pool(F.silu(self.norm(features)))
        return y[:, 0]


class Head(nn.Module):
    """The published head: its own noise embedding, `num_blocks` blocks, a middle, one logit."""

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        width: int = 128,
        num_blocks: int = 2,
        dropout: float = 0.0,
    ):
        super().__init__()
        heads = max(1, width // _HEAD_CHANNELS)
        style = dataclasses.replace(ADM, dropout=dropout, num_heads=heads)
        self.embedding: Embedding = AdmEmbedding(width, 0, style)
        plan = LevelPlan(width, (width,), num_blocks, attention=(True,))
        self.encoder = Encoder(channels, self.embedding.channels, plan, style)
        middle = (True, False)
        self.middle = nn.ModuleList(
            Block(width, width, self.embedding.channels, style, attention=a) for a in middle
        )
        self.logit = Logit(width, size, style)

    def forward(self, features: Tensor, c_noise: Tensor) -> Tensor:
        """Return one number an image, (N,), from features (N,channels,*size), c_noise (N,)."""
        emb = self.embedding(c_noise, features.new_zeros(len(features), 0))
        x = self.encoder(features, emb)[-1]
        for block in self.middle:
            x = block(x, emb)
        y: Tensor = self.logit(x)
        return y
