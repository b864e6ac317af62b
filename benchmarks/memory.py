"""How much memory does an evaluation need at the size of EchoNet-Dynamic? 358,259 images a side.

    python benchmarks/memory.py FOLDER [--images 358259] [--metrics frechet,noise,kid,prdc,echo]

Two stores of drawn 64 px images and 2048 features of a cheap stand-in network, on disk as always:
what is measured is the way of the data, not a network. FOLDER takes about 9 GB at full size.
"""

import argparse
import resource
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from echosweep.commands.evaluate import Pair, with_features
from echosweep.data.store import FrameStore, Preparation, Video
from echosweep.data.writer import StoreWriter
from echosweep.distributed import world
from echosweep.evaluation import METRICS
from echosweep.evaluation.features import Extractor, Resize, pil_bilinear
from echosweep.evaluation.sets import Side
from echosweep.progress import bar

SIZE, DIMS, FRAMES = 64, 2048, 36


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=358_259)
    parser.add_argument("--metrics", default="frechet,kid,prdc,echo")
    arguments = parser.parse_args()
    stores = [drawn(arguments.folder / name, i, arguments.images) for i, name in enumerate("ab")]
    report("two stores", time.monotonic())
    draw = torch.Generator().manual_seed(0)
    mixing = torch.randn(SIZE * SIZE, DIMS, generator=draw) / SIZE

    def network(x: Tensor) -> Tensor:
        return (x[:, 0].flatten(1) @ mixing).relu()

    extractor = Extractor(
        name="stand-in",
        metric="fd_stand_in",
        dims=DIMS,
        resize=Resize("none", SIZE, pil_bilinear, 0, 64),
        weights="seed 0",
        network=network,
        device=torch.device("cpu"),
    )
    started = time.monotonic()
    with world("cpu") as peers:
        cache = arguments.folder / "cache"
        pair = Pair(
            *(with_features(Side(s, s.rows()), extractor, cache, peers, bar) for s in stores)
        )
    report("features", started)
    for name in arguments.metrics.split(","):
        started = time.monotonic()
        METRICS[name].measure(*pair, 0)
        report(name, started)


def drawn(path: Path, seed: int, images: int) -> FrameStore:
    """Return a store of low-rank textures, FRAMES a video, made if it is not there."""
    if not path.exists():
        draw = np.random.default_rng(seed)
        parts = draw.normal(size=(40, SIZE * SIZE)).astype(np.float32)

        def frames(count: int) -> np.ndarray:
            texture = 100 + 6 * draw.normal(size=(count, 40)).astype(np.float32) @ parts
            return texture.clip(0, 255).astype(np.uint8).reshape(count, SIZE, SIZE)

        counts = [FRAMES] * (images // FRAMES) + [images % FRAMES] * bool(images % FRAMES)
        with StoreWriter(path, Preparation((SIZE, SIZE)), {"seed": seed}) as writer:
            for i, count in enumerate(counts):
                writer.append(Video(f"v{i}"), frames(count), range(count))
            return writer.finish()
    return FrameStore.open(path)


def report(what: str, started: float) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{what}: {time.monotonic() - started:,.0f} s, peak {peak:.2f} GiB resident", flush=True)


if __name__ == "__main__":
    main()
