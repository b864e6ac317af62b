"""The parts of a diffusion U-Net: resampling, attention and the residual block.

A block is `x -> (conv(silu(norm(conv(silu(norm(x))), emb))) + skip(x)) * s`, where `emb` embeds the
noise level. ADM and Song's DDPM++/NCSN++ use the same block and differ in the values of a `Style`.
Invariant: every last convolution of a branch starts at (nearly) zero, so a new block passes x on.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from echosweep.errors import UsageError
from echosweep.networks.winograd import Conv2d

Initialise = Callable[[nn.Linear | nn.Conv2d, float], None]
Direction = Literal["down", "up"]


@torch.no_grad()
def init_fan_in(layer: nn.Linear | nn.Conv2d, gain: float) -> None:
    """Draw weights and biases from U(±gain / sqrt(fan_in)): torch's default, scaled."""
    layer.reset_parameters()
    for parameter in layer.parameters():
        parameter.mul_(gain)


@torch.no_grad()
def init_xavier(layer: nn.Linear | nn.Conv2d, gain: float) -> None:
    """Draw weights Xavier-uniform times `gain` and set biases to zero."""
    nn.init.xavier_uniform_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


@dataclass(frozen=True)
class Style:
    """What sets one family of U-Nets apart from another.

    adaptive_scale: the embedding scales and shifts after the norm (ADM), or is added before it.
    residual_scale: multiplies every sum of a branch and its skip. project_resampled: a 1x1
    convolution on the skip wherever the size changes. channels_per_head: None = one head.
    output_gain, qkv_gain: scale the initial weights of a branch's last layer, and of q, k, v.
    """

    adaptive_scale: bool
    residual_scale: float
    eps: float
    project_resampled: bool
    channels_per_head: int | None
    initialise: Initialise
    output_gain: float
    qkv_gain: float
    num_heads: int | None = None
    filter: tuple[int, ...] = (1, 1)
    dropout: float = 0.0

    def conv(self, c_in: int, c_out: int, kernel: int = 3, gain: float = 1.0) -> nn.Conv2d:
        """Return a convolution that keeps the size, initialised in this style."""
        layer = Conv2d(c_in, c_out, kernel, padding=kernel // 2)
        self.initialise(layer, gain)
        return layer

    def linear(self, c_in: int, c_out: int) -> nn.Linear:
        """Return a linear layer initialised in this style."""
        layer = nn.Linear(c_in, c_out)
        self.initialise(layer, 1.0)
        return layer

    def norm(self, channels: int) -> nn.GroupNorm:
        """Return a group norm of min(32, C // 4) groups; raise `UsageError` where C has no such."""
        groups = min(32, channels // 4)
        if groups < 1 or channels % groups:
            raise UsageError(
                f"{channels} channels cannot be normalised in groups; "
                "choose model_channels a multiple of 32 and whole channel_mult"
            )
        return nn.GroupNorm(groups, channels, eps=self.eps)

    def heads(self, channels: int) -> int:
        """Return the number of attention heads; raise `UsageError` where none would be left."""
        heads = self.num_heads
        if heads is None:
            heads = 1 if self.channels_per_head is None else channels // self.channels_per_head
        if heads < 1 or channels % heads:
            raise UsageError(
                f"attention over {channels} channels cannot have {heads} heads (one per "
                f"{self.channels_per_head} channels); choose wider levels, or set num_heads=1"
            )
        return heads


class Resample(nn.Module):
    """Halve or double the size with the separable filter f, as outer(f, f) / sum(f)^2.

    [1,1] is a 2x2 mean and nearest-neighbour doubling. Longer filters are a depthwise convolution
    of stride 2, or the transposed one with 4 times the filter.
    """

    kernel: Tensor

    def __init__(self, taps: Sequence[int], direction: Direction, padding: int | None = None):
        super().__init__()
        self.direction = direction
        self.padding = (len(taps) - 1) // 2 if padding is None else padding
        self.box = tuple(taps) == (1, 1) and self.padding == 0
        f = torch.tensor(taps, dtype=torch.float32)
        gain = 4 if direction == "up" else 1
        if not self.box:
            self.register_buffer("kernel", (gain * f.outer(f) / f.sum() ** 2)[None, None])

    def forward(self, x: Tensor) -> Tensor:
        """Return x (N,C,H,W) at half or double the height and width."""
        if self.box and self.direction == "down":
            return F.avg_pool2d(x, 2)
        if self.box:
            return F.interpolate(x, scale_factor=2.0, mode="nearest")
        channels = x.shape[1]
        kernel = self.kernel.to(x.dtype).expand(channels, 1, -1, -1)
        convolve = F.conv2d if self.direction == "down" else F.conv_transpose2d
        return convolve(x, kernel, stride=2, padding=self.padding, groups=channels)


class Attention(nn.Module):
    """Add to x what every pixel finds in all others: softmax(q k / sqrt(d)) v, per head."""

    def __init__(self, channels: int, style: Style):
        super().__init__()
        self.heads = style.heads(channels)
        self.scale = style.residual_scale
        self.norm = style.norm(channels)
        self.qkv = style.conv(channels, 3 * channels, 1, gain=style.qkv_gain)
        self.proj = style.conv(channels, channels, 1, gain=style.output_gain)

    def forward(self, x: Tensor) -> Tensor:
        """Return (x + proj(attention(norm(x)))) * s, (N,C,H,W)."""
        n, c, h, w = x.shape
        qkv = self.qkv(self.norm(x)).reshape(n, self.heads, c // self.heads, 3, h * w)
        q, k, v = qkv.permute(3, 0, 1, 4, 2).contiguous().unbind(0)
        a = F.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(n, c, h, w)
        y: Tensor = (x + self.proj(a)) * self.scale
        return y


class Block(nn.Module):
    """The residual block, with an optional change of size before it and attention after it.

    h = conv(silu(norm0(x))), resampled first; then the embedding and the second convolution.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        c_emb: int,
        style: Style,
        resample: Direction | None = None,
        attention: bool = False,
    ):
        super().__init__()
        self.style = style
        self.norm0 = style.norm(c_in)
        self.resample = Resample(style.filter, resample) if resample else nn.Identity()
        self.conv0 = style.conv(c_in, c_out)
        self.affine = style.linear(c_emb, c_out * (2 if style.adaptive_scale else 1))
        self.norm1 = style.norm(c_out)
        self.dropout = nn.Dropout(style.dropout)
        self.conv1 = style.conv(c_out, c_out, gain=style.output_gain)
        project = c_in != c_out or (resample is not None and style.project_resampled)
        self.skip = style.conv(c_in, c_out, 1) if project else nn.Identity()
        self.attention = Attention(c_out, style) if attention else nn.Identity()

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """Return (N,c_out,H',W') from x (N,c_in,H,W) and emb (N,c_emb)."""
        h = self.conv0(self.resample(F.silu(self.norm0(x))))
        h = self._modulate(h, self.affine(emb)[:, :, None, None])
        h = self.conv1(self.dropout(h))
        x = (h + self.skip(self.resample(x))) * self.style.residual_scale
        y: Tensor = self.attention(x)
        return y

    def _modulate(self, h: Tensor, p: Tensor) -> Tensor:
        if not self.style.adaptive_scale:
            return F.silu(self.norm1(h + p))
        scale, shift = p.chunk(2, dim=1)
        return F.silu(torch.addcmul(shift, self.norm1(h), 1 + scale))


class PositionalFrequencies(nn.Module):
    """Embed a number by cosines and sines of frequencies from 1 to 1e-4 (Vaswani et al. 2017).

    endpoint: the lowest frequency is exactly 1e-4 (Song) rather than a step above it (ADM).
    """

    def __init__(self, channels: int, endpoint: bool):
        super().__init__()
        self.channels, self.endpoint = channels, endpoint

    def forward(self, c_noise: Tensor) -> Tensor:
        """Return [cos, sin] (N,channels), float32, of c_noise (N,)."""
        half = self.channels // 2
        i = torch.arange(half, dtype=torch.float32, device=c_noise.device)
        angles = c_noise.float().outer(torch.pow(1e-4, i / (half - self.endpoint)))
        return torch.cat([angles.cos(), angles.sin()], dim=1)


class FourierFrequencies(nn.Module):
    """Embed a number by fixed random frequencies 16 N(0,1) (Tancik et al. 2020)."""

    frequencies: Tensor

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("frequencies", 16 * torch.randn(channels // 2))

    def forward(self, c_noise: Tensor) -> Tensor:
        """Return [cos, sin] (N,channels), float32, of 2 pi f c_noise."""
        angles = c_noise.float().outer(2 * math.pi * self.frequencies.float())
        return torch.cat([angles.cos(), angles.sin()], dim=1)
