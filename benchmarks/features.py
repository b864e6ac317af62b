"""How fast are our Inception features beside torch-fidelity's? Pairs, run alternately.

    taskset -c 1 python benchmarks/features.py FOLDER [--inception PARTIAL] [--pairs 5]

Both see the same grey images and weights in one process, torch-fidelity in its own batches of 64.
Last, our Fréchet distance at 2048 features beside SciPy's `sqrtm` on the same statistics. FOLDER
takes the packages and weights, as in parity.py.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import parity
import peers
from echosweep.evaluation.features import Extractor
from echosweep.evaluation.fid import Statistics, frechet_distance


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--inception", type=Path, default=os.environ.get("ECHOSWEEP_INCEPTION"))
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=5)
    arguments = parser.parse_args()
    peers.add(arguments.folder, peers.FIDELITY, peers.NO_TORCHVISION)
    print(
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, torch-fidelity 0.4.0, 64 px grey, {arguments.images} images"
    )
    images = parity.colour_images(arguments.images, contrast=1.0)[..., 0]
    compare(2048, images, arguments.pairs, *parity.pair(arguments.folder, 2048, None))
    if arguments.inception:
        partial = Path(arguments.inception)
        compare(768, images, arguments.pairs, *parity.pair(arguments.folder, 768, partial))
    distance(arguments.pairs)


def compare(dims: int, images: NDArray[np.uint8], pairs: int, ours: Extractor, theirs: Any) -> None:
    """Time both on `images` and print images per second."""

    def peer() -> None:
        parity.peer_features(theirs, images)

    parity.peer_features(theirs, images[:1])  # warm up
    times = [(seconds(lambda: ours(images)), seconds(peer)) for _ in range(pairs)]
    our_rate, peer_rate = (
        len(images) / statistics.median(side) for side in zip(*times, strict=True)
    )
    print(
        f"{dims} features: {our_rate:.2f} images/s, torch-fidelity {peer_rate:.2f}; {ratio(times)}"
    )


def distance(pairs: int) -> None:
    """Time our Fréchet distance and SciPy's `sqrtm` on one pair of statistics, and print both."""
    sqrtm = import_module("scipy.linalg").sqrtm
    draw = np.random.default_rng(0)
    first, second = (Statistics.of(draw.normal(0, s, (3000, 2048))) for s in (1.0, 1.1))

    def peer() -> float:
        delta, root = first.mean - second.mean, sqrtm(first.cov @ second.cov)
        return float(delta @ delta + np.trace(first.cov + second.cov - 2 * root.real))

    times = [
        (seconds(lambda: frechet_distance(first, second)), seconds(peer)) for _ in range(pairs)
    ]
    our_time, peer_time = (statistics.median(side) for side in zip(*times, strict=True))
    print(
        f"distance of 2048: {our_time:.1f} s, sqrtm {peer_time:.1f} s; {ratio(times)}; "
        f"values {frechet_distance(first, second):.6f} and {peer():.6f}"
    )


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def ratio(times: list[tuple[float, float]]) -> str:
    """Say how many times faster we are: median and range over the pairs (ours, theirs)."""
    ratios = [theirs / ours for ours, theirs in times]
    return f"{statistics.median(ratios):.2f} x ({min(ratios):.2f} to {max(ratios):.2f})"


if __name__ == "__main__":
    main()
