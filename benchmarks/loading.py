"""Batches from the frame store in memory beside a DataLoader over a folder of PNG files.

The folder is what public training codes read: a Dataset that opens a file with Pillow for each
image, shuffled. Invariant: both give float32 batches in [-1, 1] of the same images.
"""

import tempfile
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import prepare
import train
from echosweep.data.prepare import prepare as prepare_store
from echosweep.data.store import FrameStore
from echosweep.training.batches import Batches
from pairs import Options, Row, Work, faster, medians, turns

BATCH, SIZE = 16, 64
BAR, SHARE_BAR = 10.0, 0.01
NETWORK = "ddpmpp-tiny"  # the cheapest: loading is the largest share of its steps


class Files(Dataset[Tensor]):
    """The PNG files of a folder, each read when it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(folder.glob("*.png"))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        image = np.array(Image.open(self.paths[index]).convert("L"))
        return torch.from_numpy(image)[None].to(torch.float32) / 127.5 - 1


def rows(options: Options) -> list[Row]:
    """Return the rows: an epoch against the folder's, and a batch's share of a training step."""
    with tempfile.TemporaryDirectory() as folder:
        store = phantom_store(Path(folder))
        files = write_files(store, Path(folder) / "files")
        found = [epochs(store, files, options)]
    return [*found, share(store, options)]


def phantom_store(folder: Path) -> FrameStore:
    """Prepare 32 phantom videos, 64 x 64 pixels."""
    videos = prepare.phantoms(folder, 32)
    return prepare_store(videos.source, folder / "store", size=SIZE, workers=1)


def write_files(store: FrameStore, folder: Path) -> Files:
    """Write each image of the store as a PNG file."""
    folder.mkdir()
    for number, image in enumerate(store.images):
        Image.fromarray(image).save(folder / f"{number:06}.png")
    return Files(folder)


def batches_of(store: FrameStore) -> Batches:
    """Return all images of a store in memory."""
    return Batches(torch.from_numpy(np.array(store.images))[:, None], None, seed=0)


def epochs(store: FrameStore, files: Files, options: Options) -> Row:
    """Return the row of an epoch in batches of BATCH."""
    times = turns([epoch(batches_of(store)), partial(read, files)], options.pairs)
    ours, theirs = (f"{len(files):,} images, {len(files) / t:,.0f}/s" for t in medians(times))
    return Row(
        what=f"loading, {SIZE} px, batch {BATCH}",
        ours=f"uint8 in memory, {ours}",
        peer=f"torch {torch.__version__} DataLoader, PNG files by Pillow, {theirs}",
        ratios=faster([(a, b) for a, b in times]),
        bar=BAR,
        note="files are in the page cache; more loader processes share the cores of the training",
    )


def epoch(batches: Batches) -> Work:
    """Return the work of reading all images once, in a new order each time."""
    starts, size = count(step=len(batches.images)), len(batches.images)

    def work() -> None:
        begin = next(starts)
        for start in range(begin, begin + size, BATCH):
            batches.get(start, BATCH, torch.device("cpu"))

    return work


def read(files: Files) -> None:
    """Read all files once, in a new order each time."""
    for _ in DataLoader(files, BATCH, shuffle=True):
        pass


def share(store: FrameStore, options: Options) -> Row:
    """Return the row of a batch's seconds over those of a training step."""
    step, _ = train.our_step("cpu", SIZE, {"network": NETWORK, "batch": BATCH})
    batches, number = epoch(batches_of(store)), -(-len(store.images) // BATCH)
    times = [(load / number, step) for load, step in turns([batches, step], options.pairs)]
    load, whole = (seconds * 1e3 for seconds in medians(times))
    return Row(
        what=f"loading's share of a training step, {SIZE} px, batch {BATCH}",
        ours=f"{load:.2f} ms a batch",
        peer=f"a step of {NETWORK}, {whole:,.0f} ms",
        ratios=[load / step for load, step in times],
        bar=SHARE_BAR,
        better="lower",
    )
