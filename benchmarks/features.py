"""Inception features beside torch-fidelity's, and the Fréchet distance beside SciPy's `sqrtm`.

    taskset -c 0 python benchmarks/features.py

prints how the time of features grows; `bench.py features` compares. Invariant: both networks have
the same weights and see the same grey images, torch-fidelity in its own batches of 64; `parity.py`
checks that the values agree.
"""

import math
import tempfile
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

import parity
import peers
from beside import beside
from echosweep.evaluation.features import Extractor
from echosweep.evaluation.features import Options as Asked
from echosweep.evaluation.fid import Statistics, frechet_distance
from echosweep.evaluation.inception import layout
from echosweep.evaluation.inception_file import build_inception
from nets import Facts
from pairs import Built, Options, Row, faster, medians, pairs, turns

DIMS, SIZE = 2048, 64
BAR = 1.6


def rows(options: Options) -> list[Row]:
    """Return the rows of Inception and of the distance between two sets of its features."""
    images, folder = 64, options.peers / "fidelity"
    what = f"Inception, {DIMS} features, {SIZE} px grey"
    ours, theirs = (our_features, images, folder), (their_features, images, folder)
    features = beside(what, images, 1, options, ours, theirs)
    return [features._replace(bar=BAR), distance(options, folder)]


def our_features(images: int, folder: Path) -> Built:
    """Return the work of our extractor."""
    ours, _ = drawn_pair(folder)
    return partial(ours, grey(images)), facts("EchoSweep", ours)


def their_features(images: int, folder: Path) -> Built:
    """Return the work of torch-fidelity's extractor."""
    ours, theirs = drawn_pair(folder)
    work = partial(parity.peer_features, theirs, grey(images))
    return work, facts(peers.version(peers.FIDELITY), ours)


def drawn_pair(folder: Path) -> tuple[Extractor, Any]:
    """Return our extractor and torch-fidelity's, of the same drawn weights."""
    peers.add(folder, peers.FIDELITY, peers.NO_TORCHVISION)
    return parity.pair(folder, DIMS, None)


def facts(name: str, extractor: Extractor) -> Facts:
    """Return the size of the network and the arithmetic of one image, the same for both."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        extractor.network(extractor.resize(grey(1), extractor.device))
    parameters = sum(math.prod(conv.shape) for conv in layout())
    return Facts(name, parameters, counter.get_total_flops())


def grey(count: int) -> NDArray[np.uint8]:
    """Return so many grey images."""
    return parity.colour_images(count, contrast=1.0)[..., 0]


def distance(options: Options, folder: Path) -> Row:
    """Return the row of the distance between two Gaussians of DIMS features."""
    peers.add(folder, peers.FIDELITY, peers.NO_TORCHVISION)
    draw = np.random.default_rng(0)
    sides = [Statistics.of(draw.normal(0, s, (DIMS + 1000, DIMS))) for s in (1.0, 1.1)]
    ours, peer = partial(frechet_distance, *sides), partial(with_sqrtm, *sides)
    times = pairs(ours, peer, min(options.pairs, 3))  # the root takes half a minute
    seconds = medians(times)
    return Row(
        what=f"Fréchet distance, {DIMS} features",
        ours=f"{ours():.6f}, {seconds[0]:.2f} s",
        peer=f"scipy.linalg.sqrtm, {peer():.6f}, {seconds[1]:.2f} s",
        ratios=faster(times),
    )


def with_sqrtm(first: Statistics, second: Statistics) -> float:
    """Return the distance as most codes compute it, by the root of the product of covariances."""
    sqrtm: Any = import_module("scipy.linalg").sqrtm
    delta, root = first.mean - second.mean, sqrtm(first.cov @ second.cov)
    return float(delta @ delta + np.trace(first.cov + second.cov - 2 * root.real))


def main() -> None:
    counts = (8, 16, 32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "drawn.pth"
        torch.save(parity.state_dict({}), path)
        extractor = build_inception(
            Asked(path, dims=DIMS, allow_unknown_weights=True, device="cpu")
        )
        times = turns([partial(extractor, grey(count)) for count in counts], 3)
    print(f"Inception, {DIMS} features, {SIZE} px grey, {torch.get_num_threads()} threads")
    for count, seconds in zip(counts, medians(times), strict=True):
        print(f"{count} images: {seconds:.2f} s, {seconds / count * 1e3:.0f} ms each")


if __name__ == "__main__":
    main()
