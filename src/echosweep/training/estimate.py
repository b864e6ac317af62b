"""What a run costs, before it is started: counted where it can be, measured where it must be.

Parameters, attention blocks, multiply-adds and the bytes that the backward pass keeps are counted;
the time of a step is measured here, on a few images, and so is what fits a GPU's memory.
Invariant: nothing is guessed, and what was measured says on what.
"""

import gc
import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, UntypedStorage
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call

from echosweep import machine
from echosweep.config import TrainConfig
from echosweep.diffusion import Denoiser
from echosweep.distributed import World
from echosweep.networks import describe
from echosweep.training.batches import Batches
from echosweep.training.loop import DenoisingLoss, TrainState, train_steps, try_pass
from echosweep.training.passes import largest_part, out_of_memory
from echosweep.training.posthoc_ema import STORED

_BYTES = 4  # of a parameter in float32
_SHARE = 0.75  # of the memory that is free: the rest is for others, who start while this one runs
_SAFETY = 1.25  # what a pass takes besides what it keeps: the largest layer's workspace, gradients


def estimate(denoiser: Denoiser, config: TrainConfig, device: torch.device) -> dict[str, Any]:
    """Return the size of a network and the memory and time of a training step on `device`."""
    counts = describe(denoiser.network)
    copy = counts["parameters"] * _BYTES
    tracks = 2 if config.posthoc_ema else 0
    # Weights, their gradients, their averages and Adam's two moments; no gradients on disk.
    weights, state = (5 + tracks) * copy, (4 + tracks) * copy
    activations = activation_bytes(denoiser)
    images = min(config.micro_batch or config.batch, config.batch)
    seconds = seconds_per_image(denoiser, config, device)
    kimg = config.total_kimg or (config.budget_hours or 0) * 3.6 / seconds
    return counts | {
        "memory_gb": {
            "weights_average_and_adam": weights / 1e9,
            "activations_fp32": activations * images / 1e9,
            "total": (weights + activations * images) / 1e9,
        },
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "images_per_second_measured": 1 / seconds,
        "kimg": kimg,
        "hours": kimg * seconds / 3.6,
        "checkpoint_gb": state / 1e9,
        "snapshots_gb": copy * (config.snapshots + tracks * STORED) / 1e9,
    }


def fitting_micro_batch(
    state: TrainState,
    config: TrainConfig,
    share: int,
    most: int,
    device: torch.device,
    free: float | None = None,
) -> int:
    """Return the images per pass that fit the memory: the largest even part of a process's share.

    most: no more than these. On a GPU a pass is tried, on a CPU it is counted; 1 where none fits.
    free: bytes of a CPU's memory, by default what there is.
    """
    if device.type == "cuda":
        return largest_part(share, most, partial(_passes, state, config, device))
    known = machine.free_memory() if free is None else free
    room = math.inf if known is None else _SHARE * known
    return largest_part(share, most, _fits_in(state, room))


def _fits_in(state: TrainState, free: float) -> Callable[[int], bool]:
    """Return images -> whether a pass over them, gradients and new moments fit into `free`."""
    weights = sum(p.numel() for p in state.denoiser.parameters()) * _BYTES
    new = weights * (1 if state.optimizer.state else 3)
    kept = _SAFETY * activation_bytes(state.denoiser)
    return lambda images: new + images * kept <= free


def _passes(state: TrainState, config: TrainConfig, device: torch.device, images: int) -> bool:
    """Say whether a GPU has the memory for a pass, and for Adam's moments beside it."""
    # What the first step of Adam will make is held meanwhile.
    count = 0 if state.optimizer.state else 2
    try:
        _held = [torch.empty_like(p) for p in state.denoiser.parameters() for _ in range(count)]
        try_pass(state.denoiser, images, config, device)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        return False
    finally:
        _held = []
        gc.collect()  # the graph of a pass that failed holds its tensors in a cycle
        torch.cuda.empty_cache()
    return True


def activation_bytes(denoiser: Denoiser) -> int:
    """Return the bytes that autograd keeps for the backward pass of one image, in float32.

    Nothing is computed: fake tensors have shapes and a device, and take no memory.
    """
    kept: dict[int, UntypedStorage] = {}

    def note(tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage  # held, so that no place is used twice

    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        loss = DenoisingLoss(denoiser)
        weights: dict[str, Tensor] = {
            name: mode.from_tensor(weight) for name, weight in loss.named_parameters()
        }
        buffers: dict[str, Tensor] = {
            name: mode.from_tensor(buffer) for name, buffer in loss.named_buffers()
        }
        y = torch.empty(1, *denoiser.image_shape, device=next(denoiser.parameters()).device)
        labels = y.new_empty(1, denoiser.label_dim) if denoiser.label_dim else None
        with torch.autograd.graph.saved_tensors_hooks(note, lambda nothing: nothing):
            images = (y, y.new_empty(1), torch.empty_like(y), labels)
            functional_call(loss, weights | buffers, images)
        own = {weight.untyped_storage()._cdata for weight in weights.values()}
    return sum(storage.nbytes() for key, storage in kept.items() if key not in own)


def seconds_per_image(denoiser: Denoiser, config: TrainConfig, device: torch.device) -> float:
    """Return the time of a training step per image, measured on at most 8 images (64 on a GPU)."""
    count = min(
        config.batch, config.micro_batch or config.batch, 64 if device.type == "cuda" else 8
    )
    short = config.model_copy(update={"batch": count, "micro_batch": None})
    images = torch.zeros(count, *denoiser.image_shape, dtype=torch.uint8)
    labels = torch.zeros(count, denoiser.label_dim) if denoiser.label_dim else None
    state = TrainState.new(denoiser.to(device), short)
    steps = train_steps(state, Batches(images, labels, seed=0), short, World(0, 1, device))
    next(steps)  # the first step also builds caches
    started = time.perf_counter()
    taken = [next(steps) for _ in range(2)]
    return (time.perf_counter() - started) / (count * len(taken))
