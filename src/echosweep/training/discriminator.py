"""Train a discriminator: a generator that yields after every step, as the loop of denoisers does.

Half of a batch is real, half generated, noised alike: ln sigma is uniform between the published
ends (Kim et al. 2023, arXiv 2211.17091). Invariant: a step is a function of the weights and of
(seed, step), for any number of processes (but for dropout), and changes the discriminator alone.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor, distributed

from echosweep import rng
from echosweep.config import DiscriminatorConfig
from echosweep.diffusion import Denoiser
from echosweep.diffusion.discriminators import Discriminator
from echosweep.distributed import World
from echosweep.errors import UsageError
from echosweep.training import OBJECTIVES
from echosweep.training.adam import load_moments, moments
from echosweep.training.batches import Batches
from echosweep.training.finite import mend_gradients
from echosweep.training.loop import TrainingStep, autocast
from echosweep.training.objectives import Noisy, gradient_penalty

SIGMA_MIN, SIGMA_MAX = 1.0e-3, 152.17
_SHIFT = 16  # images are shifted by at most 1 / 16 of their size


class Sides(NamedTuple):
    """Real and generated images."""

    real: Batches
    generated: Batches


@dataclass
class DiscriminatorState:
    """All that training changes: weights, Adam's moments and the number of steps so far."""

    discriminator: Discriminator
    optimizer: torch.optim.Adam
    step: int = 0

    @classmethod
    def new(cls, discriminator: Discriminator, config: DiscriminatorConfig) -> "DiscriminatorState":
        """Return the state before the first step."""
        optimizer = torch.optim.Adam(
            [p for p in discriminator.parameters() if p.requires_grad],
            lr=config.lr,
            weight_decay=config.weight_decay,
            fused=True,
        )
        return cls(discriminator.train(), optimizer)

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor that resuming needs, by name."""
        return self.discriminator.trained_state() | moments(self.optimizer, self.discriminator)

    def load(self, tensors: dict[str, Tensor], step: int) -> None:
        """Take over the tensors of `tensors()` after `step` steps."""
        trained = {name: tensors[name] for name in self.discriminator.trained_state()}
        self.discriminator.load_state_dict(self.discriminator.frozen_state() | trained)
        load_moments(self.optimizer, self.discriminator, tensors)
        self.step = step


def steps_an_epoch(generated: int, config: DiscriminatorConfig) -> int:
    """Return the steps in which as many generated images are seen as there are."""
    return -(-generated // (config.batch // 2))


def discriminator_steps(
    state: DiscriminatorState,
    sides: Sides,
    denoiser: Denoiser,
    config: DiscriminatorConfig,
    world: World,
) -> Iterator[TrainingStep]:
    """Yield after each step, without end; `state` is up to date at every yield.

    denoiser: the guided model, which stays as it is. Raises UsageError at once if the batch cannot
    be shared by the processes.
    """
    check_share(config, world)
    loss_of = OBJECTIVES[config.objective].loss
    weights = [p for p in state.discriminator.parameters() if p.requires_grad]
    while True:
        started = time.perf_counter()
        # Dropout draws from torch's global generator.
        torch.manual_seed(rng.derive(config.seed, "dropout", world.rank, state.step))
        real, generated = (
            _draw(images, side, state.step, config, world)
            for side, images in sides._asdict().items()
        )
        state.optimizer.zero_grad(set_to_none=True)
        with autocast("auto", world.device):
            loss = loss_of(state.discriminator, real, generated, denoiser, config.label_smoothing)
            penalty = gradient_penalty(state.discriminator, real) if config.r1 else 0.0
        torch.autograd.backward(loss + config.r1 * penalty)
        _average_gradients(weights, world)
        norm, nonfinite = mend_gradients(weights)
        state.optimizer.step()
        state.step += 1
        nimg, value = state.step * config.batch, float(loss.detach())
        seconds = time.perf_counter() - started
        yield TrainingStep(nimg, config.batch, value, config.lr, norm, nonfinite, seconds)


def noised(y: Tensor, labels: Tensor | None, draw: Generator) -> Noisy:
    """Return clean images y (N,C,H,W) with noise of levels drawn from a CPU generator."""
    u: Tensor = torch.rand(len(y), generator=draw)
    sigma = SIGMA_MIN * (SIGMA_MAX / SIGMA_MIN) ** u
    noise = torch.randn(y.shape, generator=draw)
    return Noisy(y, y + sigma[:, None, None, None] * noise, sigma, labels)


def augment(y: Tensor, probability: float, draw: Generator) -> Tensor:
    """Return images y (N,C,H,W), each with that probability flipped (or not) and shifted.

    Left and right change places in half of them; the shift is of whole pixels, up to 1/16 of the
    size either way, and repeats the border.
    """
    count, _, height, width = y.shape
    random = torch.rand(4, count, generator=draw)
    chosen = random[0] < probability

    def shift(size: int, u: Tensor) -> Tensor:
        most = max(1, size // _SHIFT)
        return (((2 * most + 1) * u).long() - most) * chosen

    rows = torch.arange(height) + shift(height, random[1])[:, None]
    columns = torch.arange(width) + shift(width, random[2])[:, None]
    columns = torch.where((chosen & (random[3] < 0.5))[:, None], width - 1 - columns, columns)
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    images = torch.arange(count)[:, None, None]
    return y.permute(0, 2, 3, 1)[images, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


def _draw(
    images: Batches, side: str, step: int, config: DiscriminatorConfig, world: World
) -> Noisy:
    """Return this process's share of a side of the step's batch, on its device."""
    half, draw = config.batch // 2, rng.generator(config.seed, "discriminator", side, step)
    y, labels = images.get(step * half, half, torch.device("cpu"))
    # All of it is drawn by every process, so that what is drawn does not depend on their number.
    y = augment(y, config.augment, draw) if config.augment else y
    whole = noised(y, labels, draw)
    share, device = slice(world.rank, None, world.size), world.device
    y, x, sigma = (t[share].to(device) for t in whole[:3])
    return Noisy(y, x, sigma, None if labels is None else labels[share].to(device))


def check_share(config: DiscriminatorConfig, world: World) -> None:
    """Raise UsageError unless each process gets as many real as generated images of a batch."""
    both = 2 * world.size
    if config.batch % both:
        fits = -(-config.batch // both) * both
        raise UsageError(
            f"--batch {config.batch} cannot be shared by {world.size} processes, half of it real; "
            f"use a multiple of {both}, as {fits}"
        )


def _average_gradients(weights: list[torch.nn.Parameter], world: World) -> None:
    # By hand: DDP takes no gradients of gradients, which some objectives are made of.
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    if world.size == 1:
        return
    together = torch.cat([gradient.flatten() for gradient in gradients])  # one message, not many
    distributed.all_reduce(together)
    parts = torch.split(together / world.size, [gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))
