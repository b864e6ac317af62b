"""Do twice the processes do twice the work? Training, sampling, features and discriminators.

    python benchmarks/scale.py [--works training,features] [--network ddpmpp-small] [--size 64]

Weak scaling: each process has one thread and `--each` images, however many there are. One process
and several take turns; the efficiency is the rate of several over that of one times their number.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import distributed

from echosweep.build import (
    build_denoiser,
    build_discriminator,
    build_extractors,
    build_sampler,
)
from echosweep.config import DiscriminatorConfig, FeatureConfig, SampleConfig, TrainConfig
from echosweep.data.store import Preparation
from echosweep.distributed import World, barrier, world
from echosweep.sampling import draw_images
from echosweep.training.batches import Batches
from echosweep.training.discriminator import DiscriminatorState, Sides, discriminator_steps
from echosweep.training.loop import TrainState, train_steps
from guidance import described

REPEATS = 3  # in a process that runs anyway, of which the median counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--network", default="ddpmpp-small")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--each", type=int, default=16)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--works", default=",".join(WORKS))
    parser.add_argument("--work", choices=list(WORKS), help="measure in this process")
    options = parser.parse_args()
    if options.work:
        measure(options)
        return
    print(f"{options.network}, {options.size} px, {options.each} images a process and thread\n")
    print(f"| what | 1 process, images/s | {options.processes} | efficiency |\n|---|---|---|---|")
    for work in options.works.split(","):
        seconds = [
            (started(work, 1), started(work, options.processes)) for _ in range(options.pairs)
        ]
        efficiency = [one / several for one, several in seconds]
        one, several = (statistics.median(column) for column in zip(*seconds, strict=True))
        rates = f"{options.each / one:.2f} | {options.processes * options.each / several:.2f}"
        spread = f"{min(efficiency):.2f} to {max(efficiency):.2f}"
        print(f"| {work} | {rates} | {statistics.median(efficiency):.2f} ({spread}) |", flush=True)


def started(work: str, processes: int) -> float:
    """Return the seconds that so many processes, begun anew, take for their images."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    result = subprocess.run(
        [sys.executable, *launcher, *sys.argv, "--work", work],
        stdout=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        text=True,
    )
    return float(result.stdout)


def measure(options: argparse.Namespace) -> None:
    """Print the seconds of a piece of work in which every process of this world takes part."""
    torch.set_num_threads(1)
    with world("cpu") as peers:
        step, seconds = WORKS[options.work](options, peers), []
        step()
        for _ in range(REPEATS):
            barrier(peers)
            begun = time.perf_counter()
            step()
            barrier(peers)
            seconds.append(time.perf_counter() - begun)
        if peers.rank == 0:
            print(statistics.median(seconds))
        if peers.size > 1:
            distributed.barrier()


def training(options: argparse.Namespace, peers: World) -> Callable[[], object]:
    """Return a training step."""
    batch, preparation = options.each * peers.size, Preparation((options.size, options.size))
    config = TrainConfig(network=options.network, batch=batch, total_kimg=1)
    torch.manual_seed(0)
    images = torch.randint(256, (1000, 1, *preparation.size), dtype=torch.uint8)
    state = TrainState.new(build_denoiser(config, preparation), config)
    steps = train_steps(state, Batches(images, None, seed=0), config, peers)
    return lambda: next(steps)


def sampling(options: argparse.Namespace, peers: World) -> Callable[[], object]:
    """Return the drawing of images in a few steps."""
    config = TrainConfig(network=options.network, total_kimg=1)
    denoiser = build_denoiser(config, Preparation((options.size, options.size))).eval()
    sampler = build_sampler(SampleConfig(sampler="euler", steps=2), denoiser.framework)
    seeds = range(peers.rank * options.each, (peers.rank + 1) * options.each)
    return lambda: draw_images(denoiser, seeds, sampler)


def features(options: argparse.Namespace, peers: World) -> Callable[[], object]:
    """Return the features of images."""
    (extractor,) = build_extractors(FeatureConfig(features=("efficientnet-lite0",)))
    images = np.zeros((options.each, options.size, options.size), np.uint8)
    return lambda: extractor(images)


def discriminator(options: argparse.Namespace, peers: World) -> Callable[[], object]:
    """Return a training step of a discriminator (kind encoder)."""
    batch, preparation = options.each * peers.size, Preparation((options.size, options.size))
    train = TrainConfig(network=options.network, total_kimg=1)
    config = DiscriminatorConfig(batch=batch)
    torch.manual_seed(0)
    log_ratio = build_discriminator(config, described(train, preparation))
    images = torch.randint(256, (1000, 1, *preparation.size), dtype=torch.uint8)
    sides = Sides(Batches(images, None, seed=0), Batches(images, None, seed=1))
    state, denoiser = DiscriminatorState.new(log_ratio, config), build_denoiser(train, preparation)
    return discriminator_steps(state, sides, denoiser, config, peers).__next__


WORKS = {
    "training": training,
    "sampling": sampling,
    "features": features,
    "discriminator": discriminator,
}

if __name__ == "__main__":
    main()
