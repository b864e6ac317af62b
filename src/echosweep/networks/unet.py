"""The U-Net around the blocks: an encoder, a decoder that sees every encoder output, a head.

Level l works at 1/2^l of the size. Attention is given by downsampling factor (1, 2, 4, 8), never in
pixels: a factor means the same at 64 and at 112 px. Invariant: an accepted U-Net has attention at
every factor it was given, and halves and doubles its size without remainder.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from echosweep.errors import UsageError
from echosweep.networks.blocks import Attention, Block, Resample, Style


class LevelPlan(NamedTuple):
    """The shape of a U-Net: `stem` channels, then a width, blocks and maybe attention per level."""

    stem: int
    widths: tuple[int, ...]
    num_blocks: int
    attention: tuple[bool, ...]

    @classmethod
    def make(
        cls, stem: int, widths: Sequence[int], num_blocks: int, attention_factors: Sequence[int]
    ) -> "LevelPlan":
        """Return the plan; raise `UsageError` for no levels or blocks, or an unknown factor."""
        if min(stem, num_blocks, *widths, len(widths)) < 1:
            raise UsageError(
                f"a U-Net of {list(widths)} channels and {num_blocks} blocks is empty; "
                "model_channels, num_blocks and each channel_mult must be at least 1"
            )
        factors = [2**level for level in range(len(widths))]
        if unknown := sorted(set(attention_factors) - set(factors)):
            raise UsageError(
                f"attention_factors {unknown} name no level of this network; "
                f"with {len(widths)} levels choose from {factors}"
            )
        attention = tuple(factor in attention_factors for factor in factors)
        return cls(stem, tuple(widths), num_blocks, attention)


class ResidualInput(nn.Module):
    """NCSN++'s path beside the encoder: a 3x3 convolution fused with the halving filter."""

    def __init__(self, c_in: int, c_out: int, style: Style):
        super().__init__()
        self.conv = style.conv(c_in, c_out)
        # The convolution also computes the border that the filter, without padding, consumes.
        self.conv.padding = (2, 2)
        self.resample = Resample(style.filter, "down", padding=0)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N,c_out,H/2,W/2) from x (N,c_in,H,W)."""
        y: Tensor = self.resample(self.conv(x))
        return y


class EncoderLevel(nn.Module):
    """One size: halve (but for level 0), then blocks; every result is a skip."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        c_emb: int,
        style: Style,
        num_blocks: int,
        attention: bool,
        down: bool,
        c_residual: int | None,
    ):
        super().__init__()
        self.scale = style.residual_scale
        self.down = Block(c_in, c_in, c_emb, style, "down") if down else None
        self.residual = ResidualInput(c_residual, c_in, style) if down and c_residual else None
        widths = [c_in] + [c_out] * num_blocks
        self.blocks = nn.ModuleList(
            Block(c, c_out, c_emb, style, attention=attention) for c in widths[:-1]
        )
        self.skips = ([c_in] if down else []) + [c_out] * num_blocks

    def forward(self, x: Tensor, aux: Tensor, emb: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the skips of this level, the deepest last, and the residual input of the next."""
        skips = []
        if self.down is not None:
            x = self.down(x, emb)
            if self.residual is not None:
                x = aux = (x + self.residual(aux)) * self.scale
            skips.append(x)
        for block in self.blocks:
            x = block(x, emb)
            skips.append(x)
        return skips, aux


class Encoder(nn.Module):
    """From an image to its features at every level, the last being the deepest."""

    def __init__(
        self, c_in: int, c_emb: int, plan: LevelPlan, style: Style, residual_input: bool = False
    ):
        super().__init__()
        self.stem = style.conv(c_in, plan.stem)
        self.levels = nn.ModuleList()
        self.skips, c_residual = [plan.stem], c_in
        for i, (width, attention) in enumerate(zip(plan.widths, plan.attention, strict=True)):
            level = EncoderLevel(
                self.skips[-1],
                width,
                c_emb,
                style,
                plan.num_blocks,
                attention,
                down=i > 0,
                c_residual=c_residual if residual_input else None,
            )
            if i > 0:
                c_residual = self.skips[-1]
            self.levels.append(level)
            self.skips += level.skips

    def forward(self, x: Tensor, emb: Tensor) -> list[Tensor]:
        """Return every output, from (N,stem,H,W) to the deepest features."""
        outputs, aux = [self.stem(x)], x
        for level in self.levels:
            skips, aux = level(outputs[-1], aux, emb)
            outputs += skips
        return outputs


class DecoderLevel(nn.Module):
    """One size: two blocks at the deepest, a doubling elsewhere; then a block for every skip."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        c_skips: Sequence[int],
        c_emb: int,
        style: Style,
        attention: Sequence[bool],
        deepest: bool,
    ):
        super().__init__()
        self.entry = nn.ModuleList(
            [Block(c_in, c_in, c_emb, style, attention=True), Block(c_in, c_in, c_emb, style)]
            if deepest
            else [Block(c_in, c_in, c_emb, style, "up")]
        )
        widths = [c_in] + [c_out] * (len(c_skips) - 1)
        self.blocks = nn.ModuleList(
            Block(c + c_skip, c_out, c_emb, style, attention=attend)
            for c, c_skip, attend in zip(widths, c_skips, attention, strict=True)
        )

    def forward(self, x: Tensor, skips: list[Tensor], emb: Tensor) -> Tensor:
        """Return (N,c_out,H,W); takes its skips off the end of `skips`."""
        for block in self.entry:
            x = block(x, emb)
        for block in self.blocks:
            x = block(torch.cat([x, skips.pop()], dim=1), emb)
        return x


class Embedding(nn.Module):
    """A module `(c_noise (N,), labels (N,label_dim)) -> (N,channels)`."""

    channels: int
    label_dim: int


class UNet(nn.Module):
    """F(x, c_noise): what the denoiser wraps.

    decoder_attention: at "every" block of an attention level (ADM) or its "last" (Song).
    residual_input: NCSN++'s path of the image beside the encoder. Raises `UsageError` for a size
    that it cannot halve often enough.
    """

    def __init__(
        self,
        resolution: int | tuple[int, int],
        in_channels: int,
        out_channels: int,
        embedding: Embedding,
        plan: LevelPlan,
        style: Style,
        decoder_attention: Literal["every", "last"],
        residual_input: bool = False,
    ):
        super().__init__()
        self.resolution = check_resolution(resolution, len(plan.widths))
        self.in_channels, self.out_channels = in_channels, out_channels
        self.label_dim, c_emb = embedding.label_dim, embedding.channels
        self.embedding = embedding
        self.encoder = Encoder(in_channels, c_emb, plan, style, residual_input)
        self.decoder = nn.ModuleList()
        c_skips, c, count = list(self.encoder.skips), plan.widths[-1], plan.num_blocks + 1
        for i in reversed(range(len(plan.widths))):
            attend = [plan.attention[i]] * count
            if decoder_attention == "last":
                attend[:-1] = [False] * plan.num_blocks
            taken, c_skips = c_skips[: -count - 1 : -1], c_skips[:-count]
            deepest = i == len(plan.widths) - 1
            self.decoder.append(
                DecoderLevel(c, plan.widths[i], taken, c_emb, style, attend, deepest)
            )
            c = plan.widths[i]
        self.norm = style.norm(c)
        self.head = style.conv(c, out_channels, gain=style.output_gain)

    @property
    def num_attention_blocks(self) -> int:
        """Return how many blocks have attention: a number to check, because it fails silently."""
        return sum(isinstance(module, Attention) for module in self.modules())

    def forward(self, x: Tensor, c_noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return F (N,out_channels,H,W).

        x: (N,in_channels,H,W). c_noise: (N,). labels: one-hot float (N,label_dim); None means
        zeros: no class. Raises `UsageError` for labels of another width.
        """
        if labels is None:
            labels = x.new_zeros(len(x), self.label_dim)
        elif labels.shape != (len(x), self.label_dim):
            raise UsageError(
                f"labels of shape {tuple(labels.shape)} do not fit {len(x)} images and "
                f"{self.label_dim} classes; give (images, classes), one-hot, or None"
            )
        emb = self.embedding(c_noise, labels)
        skips = self.encoder(x, emb)
        x = skips[-1]
        for level in self.decoder:
            x = level(x, skips, emb)
        y: Tensor = self.head(F.silu(self.norm(x)))
        return y


def check_resolution(resolution: int | tuple[int, int], levels: int) -> tuple[int, int]:
    """Return (height, width); raise `UsageError` where 2^(levels - 1) does not divide both."""
    size = (resolution, resolution) if isinstance(resolution, int) else tuple(resolution)
    unit = 2 ** (levels - 1)
    if min(size) < 1 or any(side % unit for side in size):
        below = [max(side // unit, 1) * unit for side in size]
        above = [max(math.ceil(side / unit), 1) * unit for side in size]
        fits = dict.fromkeys("x".join(map(str, pair)) for pair in (below, above))
        raise UsageError(
            f"{size[0]}x{size[1]} pixels cannot be halved {levels - 1} times; the nearest sizes "
            f"that this network accepts are {' and '.join(fits)}"
        )
    return size[0], size[1]
