"""How many planted copies does the search find, and how many innocent images does it flag?

    python benchmarks/copies.py STORE [--features random] [--rate 0.01] [--splits 6]

STORE holds real images of many patients or videos. Each split deals them into a half that is
trained on, a quarter that is held out, and a quarter that stands for generated images that are no
copies; in the first split altered training images are sought too.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from echosweep import runs
from echosweep.commands.evaluate import with_features
from echosweep.data.store import FrameStore, Video
from echosweep.data.writer import write_store
from echosweep.distributed import World
from echosweep.evaluation import EXTRACTORS
from echosweep.evaluation.copies import CopyReport, find_copies
from echosweep.evaluation.features import Extractor, Options
from echosweep.evaluation.sets import Side, Subset
from echosweep.progress import hidden

PLANTED = 60
# Noise (grey levels), shift (pixels of 64), gain.
ALTERED = [
    *((5, 0, 1.0), (10, 0, 1.0), (20, 0, 1.0), (0, 2, 1.0), (5, 1, 1.0), (5, 2, 1.0)),
    *((10, 1, 1.0), (10, 2, 1.0), (10, 4, 1.0), (10, 2, 0.8)),
]
Images = NDArray[np.uint8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("--features", default="random")
    parser.add_argument("--rate", type=float, default=0.01)
    parser.add_argument("--splits", type=int, default=6)
    arguments = parser.parse_args()
    extractor = EXTRACTORS[arguments.features](Options())
    store = FrameStore.open(arguments.store)
    whole = featured(store, extractor)
    flagged = innocent = 0
    for seed in range(arguments.splits):
        train, held_out, others = quarters(whole, seed)
        found = find_copies(others, train, held_out, rate=arguments.rate)
        flagged, innocent = flagged + int(found.flagged.sum()), innocent + len(others)
        print(
            f"split {seed}: {found.flagged.mean():.2%} of {len(others)} innocent images flagged, "
            f"{found.held_out_groups} held-out groups, false_alarms {found.false_alarms:.2%}",
            flush=True,
        )
        if seed == 0:
            for how, share, right in planted(extractor, train, held_out, arguments.rate):
                print(f"  noise, shift, gain {how}: {share:.0%} found, {right:.0%} of the video")
    print(f"innocent images flagged: {flagged} of {innocent}, {flagged / innocent:.2%}")


def featured(store: FrameStore, extractor: Extractor) -> Side:
    """Return all images of a store with their features."""
    alone = World(0, 1, extractor.device)
    return with_features(
        Side(store, store.rows()), extractor, runs.cache_folder(None), alone, hidden
    )


def quarters(whole: Side, seed: int) -> tuple[Side, Side, Side]:
    """Return sides to train on (half the groups), to hold out, and to be innocent (a quarter)."""
    draw = np.random.default_rng(seed)
    order = draw.permutation(whole.groups.max() + 1)
    place = np.empty(len(order), int)
    place[order] = np.arange(len(order)) * 4 // len(order)
    parts = [np.flatnonzero(np.isin(place[whole.groups], which)) for which in ([0, 1], [2], [3])]
    sides = (Side(whole.store, part, Subset(whole.features, part)) for part in parts)
    return next(sides), next(sides), next(sides)


def planted(
    extractor: Extractor, train: Side, held_out: Side, rate: float
) -> Iterator[tuple[tuple[int, int, float], float, float]]:
    """Yield (how altered, share found, share whose video is named right)."""
    rows = np.random.default_rng(0).choice(train.rows, PLANTED, replace=False)
    videos = train.store.index["video"]
    for how in ALTERED:
        copies = alter(train.store.images[rows], *how)
        with tempfile.TemporaryDirectory() as folder:
            made = write_store(
                Path(folder) / "made", train.store.preparation, [(Video("made"), copies)]
            )
            found: CopyReport = find_copies(featured(made, extractor), train, held_out, rate=rate)
        right = videos[found.nearest] == videos[rows]
        yield how, float(found.flagged.mean()), float(right.mean())


def alter(images: Images, noise: float, shift: int, gain: float) -> Images:
    """Return images (n, H, W) moved by `shift` in 64 some way, times gain, plus noise."""
    draw, (height, width) = np.random.default_rng(1), images.shape[1:3]
    angles = draw.uniform(0, 2 * np.pi, len(images))
    moves = np.stack([np.sin(angles), np.cos(angles)], 1) * shift * height / 64
    rows, columns = np.arange(height)[:, None], np.arange(width)
    moved = [
        image[(rows - down).clip(0, height - 1), (columns - right).clip(0, width - 1)]
        for image, (down, right) in zip(images, moves.round().astype(int), strict=True)
    ]
    noisy = np.stack(moved) * gain + draw.normal(0, noise, images.shape)
    altered: Images = noisy.round().clip(0, 255).astype(np.uint8)
    return altered


if __name__ == "__main__":
    main()
