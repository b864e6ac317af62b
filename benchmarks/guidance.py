"""What do a discriminator's training and guided sampling cost beside the model's own?

    OMP_NUM_THREADS=1 python benchmarks/guidance.py [--networks ddpmpp-small,...] [--size 64]
        [--batch 16] [--pairs 5] [--images 16] [--steps 6]

Training: whole steps, as `train` and `discriminate` (kind encoder, half of the batch real) take
them. Sampling: w1 guides the first evaluation of a step, w2 the corrector; 5 of 6 steps are guided,
as 25 of 30 are. Times are taken in turns in one process, peaks of memory each in a fresh one.
Weights are random: they change no cost.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from echosweep.build import build_denoiser, build_discriminator, build_sampler, load_model
from echosweep.config import DiscriminatorConfig, SampleConfig, TrainConfig
from echosweep.data.store import Preparation
from echosweep.devices import pick_device
from echosweep.distributed import World
from echosweep.environment import environment
from echosweep.guides import build_guide
from echosweep.sampling import draw_images
from echosweep.training import checkpoint
from echosweep.training.batches import Batches
from echosweep.training.discriminator import DiscriminatorState, Sides, discriminator_steps
from echosweep.training.loop import TrainState, train_steps

TRAINING_BAR, MEMORY_BAR = 0.35, 1.5
CASES: dict[str, dict[str, float]] = {
    "unguided": {},
    "w1": {"w1": 1.0, "w2": 0.0},
    "w1 + w2": {"w1": 1.0, "w2": 1.0},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", default="ddpmpp-small,adm-small,ncsnpp-small")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)  # a folder and one of CASES
    arguments = parser.parse_args()
    if arguments.peak:
        folder, case = arguments.peak
        sampling(Path(folder), case, arguments)()
        print(peak_bytes())
        return
    facts = environment()
    print(
        f"{facts['cpu']}, {pick_device()}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, {facts['commit']}, {arguments.size} px"
    )
    for name in arguments.networks.split(","):
        compare_training(name, arguments)
        with tempfile.TemporaryDirectory() as folder:
            compare_sampling(name, Path(folder), arguments)


def settings(
    name: str, arguments: argparse.Namespace
) -> tuple[TrainConfig, DiscriminatorConfig, Preparation]:
    """Return what a model and its discriminator are made by."""
    train = TrainConfig(network=name, batch=arguments.batch, total_kimg=1)
    size = (arguments.size, arguments.size)
    return train, DiscriminatorConfig(batch=arguments.batch), Preparation(size)


def described(train: TrainConfig, preparation: Preparation) -> dict[str, Any]:
    """Return the part of a model's facts that it is built from."""
    config = train.model_dump(mode="json")
    return {"config": config, "preparation": asdict(preparation), "classes": []}


def compare_training(name: str, arguments: argparse.Namespace) -> None:
    """Time steps of both trainings and print the ratio."""
    train, config, preparation = settings(name, arguments)
    world = World(0, 1, pick_device())
    denoiser = build_denoiser(train, preparation).to(world.device)
    log_ratio = build_discriminator(config, described(train, preparation)).to(world.device)
    drawn = torch.randint(256, (1000, *denoiser.image_shape), dtype=torch.uint8)
    real, generated = (Batches(drawn, None, seed) for seed in (0, 1))
    state, against = TrainState.new(denoiser, train), DiscriminatorState.new(log_ratio, config)
    sides = Sides(real, generated)
    works = [
        train_steps(state, real, train, world).__next__,
        discriminator_steps(against, sides, state.average, config, world).__next__,
    ]
    denoising, discriminating = alternate(works, arguments.pairs)
    print(
        f"\n{name}: a training step of {arguments.batch} images "
        f"{statistics.median(denoising):.3f} s, {count(denoiser):,} parameters\n"
        f"  discriminator {ratio(discriminating, denoising)}, bar {TRAINING_BAR}, "
        f"{count(log_ratio):,} parameters"
    )


def compare_sampling(name: str, folder: Path, arguments: argparse.Namespace) -> None:
    """Time sampling under each of CASES, take its peak of memory, and print the ratios."""
    write(name, folder, arguments)
    times = alternate([sampling(folder, case, arguments) for case in CASES], arguments.pairs)
    peaks = [peak(folder, case, arguments) for case in CASES]
    print(f"{name}: sampling {arguments.images} images in {arguments.steps} steps")
    for case, seconds, memory in zip(CASES, times, peaks, strict=True):
        print(
            f"  {case:10} {statistics.median(seconds):7.2f} s, {ratio(seconds, times[0])}; "
            f"peak {memory / 2**20:,.0f} MiB, {memory / peaks[0]:.2f} x, bar {MEMORY_BAR}"
        )


def write(name: str, folder: Path, arguments: argparse.Namespace) -> None:
    """Write an untrained model and discriminator as `train` and `discriminate` do."""
    train, config, preparation = settings(name, arguments)
    facts = described(train, preparation)
    checkpoint.save(folder / "run/model", build_denoiser(train, preparation).state_dict(), facts)
    log_ratio = build_discriminator(config, facts)
    about: dict[str, Any] = {
        "kind": "discriminator",
        "config": config.model_dump(mode="json"),
        "guides": facts,
        "features": None,
        "accuracy": [],
        "best_weight": [],
    }
    checkpoint.save(folder / "disc/model", log_ratio.state_dict(), about)


def sampling(folder: Path, case: str, arguments: argparse.Namespace) -> Callable[[], object]:
    """Return the drawing of images under one of CASES."""
    guidance = {"guidance": folder / "disc", **CASES[case]} if CASES[case] else {}
    config = SampleConfig.make({"steps": arguments.steps, **guidance})
    denoiser = load_model(folder / "run", str(pick_device()))
    sampler, guide = build_sampler(config, denoiser.framework), build_guide(config, denoiser)
    return lambda: draw_images(denoiser, range(arguments.images), sampler, guide=guide)


def peak(folder: Path, case: str, arguments: argparse.Namespace) -> int:
    """Return the bytes that sampling takes at most, in a process of its own."""
    words = [f"--{name}={getattr(arguments, name)}" for name in ("images", "steps")]
    command = [sys.executable, __file__, "--peak", str(folder), case, *words]
    return int(subprocess.check_output(command, text=True))


def peak_bytes() -> int:
    """Return the most memory this process has had: the GPU's where there is one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    # Not `getrusage`: Linux hands the parent's peak on to what it starts.
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def alternate(works: Sequence[Callable[[], object]], pairs: int) -> list[list[float]]:
    """Return the seconds of each work, `pairs` times, taken in turns after a first time."""
    for work in works:
        seconds(work)
    rows = [[seconds(work) for work in works] for _ in range(pairs)]
    return [list(column) for column in zip(*rows, strict=True)]


def seconds(work: Callable[[], object]) -> float:
    """Return the time of one call, the device's work included."""
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def ratio(times: Sequence[float], of: Sequence[float]) -> str:
    """Say how much longer `times` are than their partners: median and range."""
    ratios = [a / b for a, b in zip(times, of, strict=True)]
    return f"{statistics.median(ratios):.3f} x ({min(ratios):.3f} to {max(ratios):.3f})"


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


if __name__ == "__main__":
    main()
