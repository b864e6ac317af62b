"""What a run costs, before it is started: counted where it can be, measured where it must be.

Parameters, attention blocks, multiply-adds and the bytes that the backward pass keeps are counted;
the time of a step is measured here, on a few images.
Invariant: nothing is guessed, and what was measured says on what.
"""

import time
from typing import Any

import torch
from torch import Tensor

from echosweep import rng
from echosweep.config import TrainConfig
from echosweep.diffusion import Denoiser, denoising_loss
from echosweep.distributed import World
from echosweep.networks import describe
from echosweep.training.batches import Batches
from echosweep.training.loop import TrainState, train_steps
from echosweep.training.posthoc_ema import STORED

_BYTES = 4  # of a parameter in float32


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


def activation_bytes(denoiser: Denoiser) -> int:
    """Return the bytes that autograd keeps for the backward pass of one image, in float32."""
    weights = {p.untyped_storage().data_ptr() for p in denoiser.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    y = torch.zeros(1, *denoiser.image_shape, device=next(denoiser.parameters()).device)
    labels = torch.zeros(1, denoiser.label_dim, device=y.device) if denoiser.label_dim else None
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        noise = denoiser.draw_noise(y, rng.generator("estimate"))
        # The loss holds the graph, and so the kept tensors: no address is used twice.
        _loss = denoising_loss(denoiser, y, *noise, labels)
    return sum(size for pointer, size in kept.items() if pointer not in weights)


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
