"""What does drawing images cost beside the network's own evaluations?

Noise of every image, the sampler's steps in float64, batches of fixed size and the images as uint8
are the rest. Invariant: both times are of the same draw, so no drift of the machine decides.
"""

import time

import torch
from torch import nn

from echosweep import compute
from echosweep.build import build_denoiser, build_sampler
from echosweep.config import SampleConfig, TrainConfig
from echosweep.data.store import Preparation
from echosweep.diffusion import Denoiser
from echosweep.diffusion.samplers import Sampler
from echosweep.sampling import chunk, draw_images
from pairs import Options, Row, seconds

NETWORK, SIZE, BAR = "ddpmpp-small", 64, 1.02


def rows(options: Options) -> list[Row]:
    """Return the row of one network and sampler."""
    return [overhead(NETWORK, SIZE, 3 if options.quick else 18, options.pairs)]


def overhead(network: str, size: int, steps: int, count: int) -> Row:
    """Return the row of `count` draws of one batch."""
    compute.keep_memory()
    train, images = TrainConfig(network=network, total_kimg=1), chunk("cpu")
    denoiser = build_denoiser(train, Preparation((size, size))).eval().requires_grad_(False)
    compute.prepare(denoiser.network)
    sampler = build_sampler(SampleConfig(steps=steps), denoiser.framework)
    draw(denoiser, sampler, 1)  # warms up
    ratios = [draw(denoiser, sampler, images) for _ in range(count)]
    return Row(
        what=f"sampling {images} images, {size} px, heun, {2 * steps - 1} evaluations",
        ours=network,
        peer="the network's calls in the same draw",
        ratios=ratios,
        bar=BAR,
        better="lower",
    )


def draw(denoiser: Denoiser, sampler: Sampler, images: int) -> float:
    """Return the seconds of a draw over those that the network took of them."""
    inside: list[float] = []

    def enter(module: nn.Module, inputs: object) -> None:
        inside.append(-time.perf_counter())

    def leave(module: nn.Module, inputs: object, outputs: torch.Tensor) -> None:
        inside.append(time.perf_counter())

    hooks = [
        denoiser.network.register_forward_pre_hook(enter),
        denoiser.network.register_forward_hook(leave),
    ]
    whole = seconds(lambda: draw_images(denoiser, range(images), sampler))
    for hook in hooks:
        hook.remove()
    return whole / sum(inside)
