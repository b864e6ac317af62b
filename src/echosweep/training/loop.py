"""The training loop: a generator that yields after every step and owns nothing else.

The caller keeps the progress bar, the log, the checkpoints and the end. A step at `nimg` is a
function of the weights and of (seed, rank, nimg), so k steps, a stop, and k more equal 2k steps.
"""

import copy
import gc
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from echosweep import rng
from echosweep.compute import to_channels_last
from echosweep.config import TrainConfig
from echosweep.diffusion import Denoiser, denoising_loss
from echosweep.distributed import World
from echosweep.errors import UsageError
from echosweep.training.adam import load_moments, moments
from echosweep.training.batches import Batches
from echosweep.training.ema import ema_beta, update_ema
from echosweep.training.finite import mend_gradients
from echosweep.training.passes import Check, go_on, largest_part, out_of_memory
from echosweep.training.posthoc_ema import LENGTHS, power_beta, track_name


class TrainingStep(NamedTuple):
    """What one step did. loss: mean per image of this process; nonfinite: entries mended."""

    nimg: int
    images: int
    loss: float
    lr: float
    grad_norm: float
    nonfinite: int
    seconds: float


@dataclass
class TrainState:
    """All that training changes: weights, their averages, Adam's moments, images and time so far.

    tracks: the averages that others are made of after training, by length; none unless asked for.
    micro_batch: the images of a pass, None for all of a process's share; less where memory lacks.
    """

    denoiser: Denoiser
    average: Denoiser
    optimizer: torch.optim.Adam
    tracks: dict[float, Denoiser] = field(default_factory=dict)
    nimg: int = 0
    seconds: float = 0.0
    micro_batch: int | None = None

    @classmethod
    def new(cls, denoiser: Denoiser, config: TrainConfig) -> "TrainState":
        """Return the state before the first step; Adam (0.9, 0.999, 1e-8), no weight decay."""
        average = copy.deepcopy(denoiser).eval().requires_grad_(False)
        optimizer = torch.optim.Adam(denoiser.parameters(), lr=config.lr, fused=True)
        lengths = LENGTHS if config.posthoc_ema else ()
        tracks = {length: copy.deepcopy(average) for length in lengths}
        return cls(denoiser.train(), average, optimizer, tracks, micro_batch=config.micro_batch)

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor that resuming needs, by name."""
        tensors = {f"model.{k}": v for k, v in self.denoiser.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        return tensors | self.track_tensors() | moments(self.optimizer, self.denoiser)

    def track_tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the tracks, by length and name."""
        return {
            track_name(length, name): tensor
            for length, track in self.tracks.items()
            for name, tensor in track.state_dict().items()
        }

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take over the tensors of `tensors()`, each to where it belongs."""
        self.denoiser.load_state_dict(_below("model.", tensors))
        self.average.load_state_dict(_below("average.", tensors))
        for length, track in self.tracks.items():
            track.load_state_dict(_below(track_name(length, ""), tensors))
        load_moments(self.optimizer, self.denoiser, tensors)

    def to_channels_last(self) -> None:
        """Lay out weights, averages and moments as the convolutions of a GPU read them.

        After `load`: the fused Adam walks through a weight and its moments side by side.
        """
        for denoiser in (self.denoiser, self.average, *self.tracks.values()):
            to_channels_last(denoiser)
        for weight, kept in self.optimizer.state.items():
            for name in ("exp_avg", "exp_avg_sq"):
                kept[name] = torch.empty_like(weight).copy_(kept[name])


def train_steps(
    state: TrainState,
    batches: Batches,
    config: TrainConfig,
    world: World,
    check: Check = go_on,
) -> Iterator[TrainingStep]:
    """Yield after each training step, without end; `state` is up to date at every yield.

    check: called before each pass; what it raises leaves `state` as it was when the step began.
    Where a pass lacks memory, the step begins anew with half as many images a pass. Raises
    UsageError at once if the batch cannot be shared by the processes.
    """
    share = share_of_batch(config, world)
    loss_of = _distribute(DenoisingLoss(state.denoiser), world)
    weights, average = list(state.denoiser.parameters()), list(state.average.parameters())
    while True:
        started = time.perf_counter()
        total = _gradients(loss_of, state, batches, config, world, check)
        norm, nonfinite = mend_gradients(weights)
        lr = learning_rate(state.nimg, config)
        _set_lr(state.optimizer, lr)
        state.optimizer.step()
        beta = ema_beta(state.nimg, config.batch, config.ema_halflife_kimg, config.ema_rampup)
        update_ema(average, weights, beta)
        state.nimg += config.batch
        for length, track in state.tracks.items():
            beta = power_beta(state.nimg, config.batch, length)
            update_ema(list(track.parameters()), weights, beta)
        loss = float(total) / share  # waits for the device: the time below is of the whole step
        seconds = time.perf_counter() - started
        state.seconds += seconds
        yield TrainingStep(state.nimg, config.batch, loss, lr, norm, nonfinite, seconds)


def _gradients(
    loss_of: nn.Module,
    state: TrainState,
    batches: Batches,
    config: TrainConfig,
    world: World,
    check: Check,
) -> Tensor:
    """Leave the gradients of the step at `state.nimg` on the weights; return the summed loss."""
    share = share_of_batch(config, world)
    while True:
        # Dropout draws from torch's global generator.
        torch.manual_seed(rng.derive(config.seed, "dropout", world.rank, state.nimg))
        noise = rng.generator(config.seed, "noise", world.rank, state.nimg)
        state.optimizer.zero_grad(set_to_none=True)
        images = min(state.micro_batch or share, share)
        try:
            y, labels = batches.get(state.nimg + world.rank * share, share, world.device)
            batch = (y, *state.denoiser.draw_noise(y, noise), labels)
            return _accumulate(loss_of, batch, images, config.precision, check)
        except (MemoryError, RuntimeError) as error:
            if world.size > 1 or images == 1 or not out_of_memory(error):
                raise
            state.micro_batch = _half(images, share)
        gc.collect()  # the graph of a pass that failed holds its tensors in a cycle


def _half(images: int, share: int) -> int:
    """Return half as many images a pass, or the next fewer that divide a share; say so."""
    less = largest_part(share, images // 2, lambda _: True)
    print(
        f"note: a pass over {images} images lacked memory; passes are of {less} from here on, as "
        f"by --micro-batch {less}",
        file=sys.stderr,
    )
    return less


@torch.no_grad()
def held_out_loss(
    denoiser: Denoiser,
    batches: Batches,
    config: TrainConfig,
    device: torch.device,
    check: Check = go_on,
) -> float:
    """Return the mean loss per image over all of `batches`, with noise that is always the same.

    check: called before each pass.
    """
    total, count = 0.0, len(batches.images)
    for start in range(0, count, config.micro_batch or config.batch):
        size = min(config.micro_batch or config.batch, count - start)
        check()
        y, labels = batches.get(start, size, device)
        noise = rng.generator("held-out", start)
        with autocast(config.precision, device):
            loss = denoising_loss(denoiser, y, *denoiser.draw_noise(y, noise), labels)
        total += float(loss.sum())
    return total / count


def try_pass(denoiser: Denoiser, images: int, config: TrainConfig, device: torch.device) -> None:
    """Compute the gradients of a pass over so many images as training does, and drop them."""
    y = torch.zeros(images, *denoiser.image_shape, device=device)
    labels = torch.zeros(images, denoiser.label_dim, device=device) if denoiser.label_dim else None
    try:
        with autocast(config.precision, device):
            noise = denoiser.draw_noise(y, rng.generator("try"))
            loss: Any = denoising_loss(denoiser, y, *noise, labels)
        loss.sum().backward()
    finally:
        denoiser.zero_grad(set_to_none=True)


def learning_rate(nimg: int, config: TrainConfig) -> float:
    """Return the rate of the step that starts at `nimg`: linear warm-up, then constant."""
    warmup = config.warmup_kimg * 1000
    return config.lr * min(1.0, (nimg + config.batch) / warmup if warmup else 1.0)


def share_of_batch(config: TrainConfig, world: World) -> int:
    """Return the images of a batch that each process takes; raise UsageError if it is no whole."""
    share, rest = divmod(config.batch, world.size)
    if rest:
        raise UsageError(
            f"--batch {config.batch} cannot be shared by {world.size} processes; "
            f"use {share * world.size or world.size} or {(share + 1) * world.size}"
        )
    return share


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Return the context that the network runs in: bf16 by default on GPUs, fp32 elsewhere."""
    bf16 = precision == "bf16" or (precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext()


class DenoisingLoss(nn.Module):
    """The loss as a module, because DDP synchronises what happens inside `forward`."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, y: Tensor, sigma: Tensor, noise: Tensor, labels: Tensor | None) -> Tensor:
        """Return `denoising_loss` of a batch."""
        return denoising_loss(self.denoiser, y, sigma, noise, labels)


def _accumulate(
    loss_of: nn.Module,
    batch: tuple[Tensor, Tensor, Tensor, Tensor | None],
    images: int,
    precision: str,
    check: Check,
) -> Tensor:
    """Add the gradient of the batch's mean loss, `images` a pass; return the summed loss."""
    y = batch[0]
    pieces = range(0, len(y), images)
    total = torch.zeros((), device=y.device)
    for start in pieces:
        check()
        part = slice(start, min(start + pieces.step, len(y)))
        last = part.stop == len(y)
        with nullcontext() if last or not _is_ddp(loss_of) else loss_of.no_sync():
            with autocast(precision, y.device):
                loss = loss_of(*(None if t is None else t[part] for t in batch)).sum()
            (loss / len(y)).backward()
        total += loss.detach()
    return total


def _is_ddp(module: nn.Module) -> TypeGuard[DistributedDataParallel]:
    return isinstance(module, DistributedDataParallel)


def _distribute(loss_of: DenoisingLoss, world: World) -> nn.Module:
    if world.size == 1:
        return loss_of
    # Of a 1x1 kernel both layouts are the same memory; PyTorch warns all the same.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    devices = [world.device] if world.device.type == "cuda" else None
    return DistributedDataParallel(loss_of, device_ids=devices)


def _set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
