"""ADM, the U-Net of Dhariwal & Nichol 2021 (arXiv 2105.05233).

The noise embedding scales and shifts after the second norm, attention has a head per 64 channels
and sits at three sizes. Invariant: an attention level narrower than a head is refused, never
silently left without attention.
"""

import dataclasses
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from echosweep.networks.blocks import PositionalFrequencies, Style, init_fan_in
from echosweep.networks.unet import Embedding, LevelPlan, UNet

ADM = Style(
    adaptive_scale=True,
    residual_scale=1.0,
    eps=1e-5,
    project_resampled=False,
    channels_per_head=64,
    initialise=init_fan_in,
    output_gain=0.0,
    qkv_gain=1.0,
)


class AdmEmbedding(Embedding):
    """silu(L1(silu(L0(frequencies))) + label), 4 times `model_channels` wide."""

    def __init__(self, model_channels: int, label_dim: int, style: Style):
        super().__init__()
        self.channels, self.label_dim = 4 * model_channels, label_dim
        self.frequencies = PositionalFrequencies(model_channels, endpoint=False)
        self.linear0 = style.linear(model_channels, self.channels)
        self.linear1 = style.linear(self.channels, self.channels)
        self.label = nn.Linear(label_dim, self.channels, bias=False) if label_dim else None
        if self.label is not None:
            nn.init.normal_(self.label.weight)  # a one-hot input picks a column: an embedding table

    def forward(self, c_noise: Tensor, labels: Tensor) -> Tensor:
        """Return (N,channels) from c_noise (N,) and labels (N,label_dim)."""
        emb = self.linear1(F.silu(self.linear0(self.frequencies(c_noise))))
        if self.label is not None:
            emb = emb + self.label(labels)
        return F.silu(emb)


def adm(
    resolution: int | tuple[int, int],
    in_channels: int,
    out_channels: int,
    label_dim: int = 0,
    dropout: float = 0.0,
    *,
    model_channels: int = 192,
    channel_mult: Sequence[int] = (1, 2, 3, 4),
    num_blocks: int = 3,
    attention_factors: Sequence[int] = (2, 4, 8),
    num_heads: int | None = None,
) -> UNet:
    """Return ADM. The defaults have 295 M parameters and 22 attention blocks.

    attention_factors: downsampling factors of the levels with attention. num_heads: heads at each;
    None = one per 64 channels, and `UsageError` for a level with fewer.
    """
    style = dataclasses.replace(ADM, dropout=dropout, num_heads=num_heads)
    widths = [model_channels * mult for mult in channel_mult]
    plan = LevelPlan.make(widths[0] if widths else 0, widths, num_blocks, attention_factors)
    embedding = AdmEmbedding(model_channels, label_dim, style)
    return UNet(resolution, in_channels, out_channels, embedding, plan, style, "every")
