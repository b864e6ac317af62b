"""A training step at 64 px beside the bare loop that everybody writes first.

The bare loop does forward, backward, Adam and an average of the weights on one batch that lies
ready: what it lacks is the data set, drawing noise, the loss's weight and the gradient check.
Invariant: both sides have the same dropout, micro-batch and precision, and fused Adam.
"""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import nets
from beside import beside
from echosweep import compute
from echosweep.build import build_denoiser
from echosweep.config import TrainConfig
from echosweep.data.store import Preparation
from echosweep.distributed import World
from echosweep.training.batches import Batches
from echosweep.training.loop import TrainState, autocast, train_steps, try_pass
from forward import SIZE
from pairs import Built, Options, Row

EMA_BETA = 0.999


def rows(options: Options) -> list[Row]:
    """Return the rows of networks against physicsnemo and others, and of the loop alone."""
    images = 1 if options.quick else 4
    twins = [
        against({"network": twin.network}, images, SIZE, options, nets.physicsnemo, twin)
        for twin in (nets.ADM, nets.NCSNPP)
    ]
    like = {"network": "ddpmpp-small", **nets.LIKE, "dropout": 0.0}
    likes = [against(like, images, SIZE, options, build) for build in nets.LIKES]
    alone = against(like, images, SIZE, options, our_network, nets.ours, "the same network")
    plain = against(like, images, SIZE, options, our_network, nets.plain, "plain convolutions")
    return [*(twin._replace(bar=1.3) for twin in twins), *likes, alone, plain]


def against(
    settings: dict[str, Any],
    images: int,
    size: int,
    options: Options,
    build: nets.Build,
    *args: object,
) -> Row:
    """Return the row of training a network of ours against the bare loop over a peer's."""
    settings = {"batch": images, "dropout": nets.DROPOUT, **settings}
    ours = (our_step, "cpu", size, settings)
    peer = (bare_step, "cpu", images, images, size, build, *args, options.peers)
    return beside(f"training step, {size} px", images, 3, options, ours, peer)


def our_step(device: str, size: int, settings: dict[str, Any]) -> Built:
    """Return a training step of ours. settings: of `TrainConfig`; it is compiled if they say so."""
    compute.keep_memory()
    config, at = TrainConfig.make({"total_kimg": 1, **settings}), torch.device(device)
    denoiser = build_denoiser(config, Preparation((size, size))).to(at)
    facts = nets.facts(nets.Net(config.network, denoiser.network, denoiser.network), size)
    state = TrainState.new(denoiser, config)
    if device == "cuda":
        state.to_channels_last()
    if config.compile == "on":
        images = config.micro_batch or config.batch
        trial = partial(try_pass, denoiser, images, config, at)
        assert compute.compile_network(denoiser.network, trial)
    drawn = torch.randint(256, (1000, 1, size, size), dtype=torch.uint8)
    steps = train_steps(state, Batches(drawn, None, seed=0), config, World(0, 1, at))
    return (lambda: next(steps).loss), facts


def our_network(size: int, make: nets.Build, what: str, folder: Path) -> nets.Net:
    """Return a network of ours, in a process set up as ours is, for the bare loop."""
    compute.keep_memory()
    net = make(size, "ddpmpp-small", nets.LIKE)
    return net._replace(name=f"the bare loop, {what}")


def bare_step(
    device: str, images: int, micro_batch: int, size: int, build: nets.Build, *args: Any
) -> Built:
    """Return a step of the bare loop over a network of `build(size, *args)`."""
    net = build(size, *args)
    module, x = net.module.to(device).train(), torch.randn(images, 1, size, size, device=device)
    facts, c_noise = nets.facts(net, size), torch.rand(images, device=device)
    weights: list[Tensor] = list(module.parameters())
    average = [weight.detach().clone() for weight in weights]
    optimizer = torch.optim.Adam(weights, lr=1e-4, fused=True)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=device)
        for part, level in zip(*(torch.split(t, micro_batch) for t in (x, c_noise)), strict=True):
            with autocast("auto", x.device):
                loss = (net.call(part, level) - part).square().sum() / x.numel()
            loss.backward()
            total += loss.detach()
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, weights, 1 - EMA_BETA)
        return float(total)

    return step, facts
