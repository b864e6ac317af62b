"""What the machine can do at best: a matrix product or one of the U-Nets' 3x3 convolutions.

A network is a row of these, so none runs faster than the best of them: the ceiling that a share is
of. In float32 on a CPU, in bf16 on a GPU. Invariant: it is timed in turn with what is compared with
it, by as many threads, in the same precision.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch

from echosweep import compute
from pairs import Built, seconds

LEVELS = ((192, 64), (384, 32), (576, 16))  # channels and size of ADM's levels at 64 px
TRIES = 2


class Scale(NamedTuple):
    """Precision, side of the matrices, images of the convolutions, and FLOP of a second or so."""

    dtype: torch.dtype
    side: int
    images: int
    flops: float


SCALES = {
    "cpu": Scale(torch.float32, 2048, 4, 1e11),
    "cuda": Scale(torch.bfloat16, 8192, 64, 2e14),
}


class Peak(NamedTuple):
    """The name of the best kernel, and the FLOP of a call of the work."""

    name: str
    flops: float


class Kernel(NamedTuple):
    """A piece of arithmetic alone."""

    name: str
    flops: float
    run: Callable[[], object]


def ceiling(device: str) -> Built:
    """Return the best kernel, repeated for a while, and its `Peak`."""
    compute.keep_memory()
    scale = SCALES[device]
    best = max(kernels(device, scale), key=lambda kernel: rate(kernel, device))
    calls = math.ceil(scale.flops / best.flops)

    @torch.no_grad()
    def work() -> None:
        for _ in range(calls):
            best.run()

    return work, Peak(best.name, calls * best.flops)


@torch.no_grad()
def rate(kernel: Kernel, device: str) -> float:
    """Return the FLOP/s of the best of a few calls."""
    return max(kernel.flops / seconds(kernel.run, device) for _ in range(TRIES))


def kernels(device: str, scale: Scale) -> list[Kernel]:
    """Return a matrix product, and convolutions of each level in both memory layouts."""
    layouts = {"first": torch.contiguous_format, "last": torch.channels_last}
    return [
        matrix(device, scale),
        *(
            convolution(channels, size, f"channels {name}", layout, device, scale)
            for channels, size in LEVELS
            for name, layout in layouts.items()
        ),
    ]


def matrix(device: str, scale: Scale) -> Kernel:
    """Return the product of two square matrices."""
    side = scale.side
    a, b = (torch.randn(side, side, device=device, dtype=scale.dtype) for _ in range(2))
    return Kernel(f"product of {side} x {side}", 2 * side**3, lambda: a @ b)


def convolution(
    channels: int, size: int, name: str, layout: torch.memory_format, device: str, scale: Scale
) -> Kernel:
    """Return a 3x3 convolution that keeps its channels and size."""
    conv = torch.nn.Conv2d(channels, channels, 3, padding=1).to(device, scale.dtype)
    conv = conv.to(memory_format=layout)  # type: ignore[call-overload]
    x = torch.randn(scale.images, channels, size, size, device=device, dtype=scale.dtype)
    x = x.contiguous(memory_format=layout)
    flops = 2 * 9 * channels**2 * size**2 * scale.images
    return Kernel(f"3x3, {channels} channels, {size} px, {name}", flops, lambda: conv(x))
