"""DDPM++ and NCSN++, the U-Nets of Song et al. 2021 (arXiv 2011.13456, appendix H).

Both add the noise embedding before the second norm and divide every sum by sqrt 2. NCSN++ embeds
the noise level by random frequencies, resamples smoothly and feeds the image to every level again.
Invariant: the numbers of parameters are those of the published networks.
"""

import dataclasses
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from echosweep.networks.blocks import (
    FourierFrequencies,
    PositionalFrequencies,
    Style,
    init_xavier,
)
from echosweep.networks.unet import Embedding, LevelPlan, UNet

SONG = Style(
    adaptive_scale=False,
    residual_scale=math.sqrt(0.5),
    eps=1e-6,
    project_resampled=True,
    channels_per_head=None,
    initialise=init_xavier,
    output_gain=1e-5,
    qkv_gain=math.sqrt(0.2),
)


class SongEmbedding(Embedding):
    """silu(L1(silu(L0(frequencies + label)))), 4 times `model_channels` wide."""

    def __init__(
        self, frequencies: nn.Module, width: int, model_channels: int, label_dim: int, style: Style
    ):
        super().__init__()
        self.channels, self.label_dim = 4 * model_channels, label_dim
        self.frequencies = frequencies
        self.label = style.linear(label_dim, width) if label_dim else None
        self.linear0 = style.linear(width, self.channels)
        self.linear1 = style.linear(self.channels, self.channels)

    def forward(self, c_noise: Tensor, labels: Tensor) -> Tensor:
        """Return (N,channels) from c_noise (N,) and labels (N,label_dim)."""
        cos, sin = self.frequencies(c_noise).chunk(2, dim=1)
        emb = torch.cat([sin, cos], dim=1)
        if self.label is not None:
            emb = emb + self.label(labels * math.sqrt(self.label_dim))
        return F.silu(self.linear1(F.silu(self.linear0(emb))))


def ddpmpp(
    resolution: int | tuple[int, int],
    in_channels: int,
    out_channels: int,
    label_dim: int = 0,
    dropout: float = 0.0,
    *,
    model_channels: int = 128,
    channel_mult: Sequence[int] = (2, 2, 2),
    num_blocks: int = 4,
    attention_factors: Sequence[int] = (4,),
) -> UNet:
    """Return DDPM++. The defaults, at 64 px, have 55.7 M parameters.

    attention_factors: downsampling factors of the levels with attention.
    """
    style = dataclasses.replace(SONG, dropout=dropout)
    frequencies = PositionalFrequencies(model_channels, endpoint=True)
    embedding = SongEmbedding(frequencies, model_channels, model_channels, label_dim, style)
    widths = [model_channels * mult for mult in channel_mult]
    plan = LevelPlan.make(model_channels, widths, num_blocks, attention_factors)
    return UNet(resolution, in_channels, out_channels, embedding, plan, style, "last")


def ncsnpp(
    resolution: int | tuple[int, int],
    in_channels: int,
    out_channels: int,
    label_dim: int = 0,
    dropout: float = 0.0,
    *,
    model_channels: int = 128,
    channel_mult: Sequence[int] = (2, 2, 2),
    num_blocks: int = 4,
    attention_factors: Sequence[int] = (4,),
) -> UNet:
    """Return NCSN++ with the residual encoder. The defaults have 56.4 M parameters.

    attention_factors: downsampling factors of the levels with attention.
    """
    style = dataclasses.replace(SONG, dropout=dropout, filter=(1, 3, 3, 1))
    frequencies = FourierFrequencies(2 * model_channels)
    embedding = SongEmbedding(frequencies, 2 * model_channels, model_channels, label_dim, style)
    widths = [model_channels * mult for mult in channel_mult]
    plan = LevelPlan.make(model_channels, widths, num_blocks, attention_factors)
    return UNet(
        resolution, in_channels, out_channels, embedding, plan, style, "last", residual_input=True
    )
