"""Does each fault of an image move its own number of the metric `echo`?

    python benchmarks/faults.py STORE

Real images of STORE (one in six) are compared with themselves, faults added one at a time.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echosweep.data.store import FrameStore
from echosweep.data.writer import write_store
from echosweep.evaluation.echo import measure_echo
from echosweep.evaluation.sets import Side

Images = NDArray[np.uint8]
SHOWN = (
    *("zero_share_generated", "histogram_w1", "spectrum_high_db"),
    *("speckle_lateral_px_generated", "speckle_snr_generated"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    store = FrameStore.open(parser.parse_args().store)
    rows = store.rows()[::6]
    reference = Side(store, rows)
    print(f"{len(rows)} images of {reference.groups.max() + 1} patients or videos")
    print("generated", *SHOWN, sep=" | ")
    for name, fault in FAULTS.items():
        with tempfile.TemporaryDirectory() as folder:
            made = altered(store, rows, fault, Path(folder) / "made")
            values = measure_echo(made, reference, 0).values
        print(name, *(f"{values[key]:.2f}" for key in SHOWN), sep=" | ", flush=True)


def altered(
    store: FrameStore, rows: NDArray[np.int64], fault: Callable[[Images], Images], out: Path
) -> Side:
    """Return a side of the same videos whose images have the fault."""
    images, videos = fault(store.images[rows]), store.index["video"][rows]
    parts = [(store.videos[number], images[videos == number]) for number in np.unique(videos)]
    made = write_store(out, store.preparation, parts)
    return Side(made, made.rows())


def to_uint8(x: NDArray[np.floating[Any]]) -> Images:
    rounded: Images = np.rint(x).clip(0, 255).astype(np.uint8)
    return rounded


def noise(images: Images) -> Images:
    return to_uint8(images + np.random.default_rng(0).normal(0, 5, images.shape))


def blur(images: Images) -> Images:
    """Convolve with a Gaussian of sigma 0.7 pixels."""
    rows, columns = (np.fft.fftfreq(n) for n in images.shape[1:])
    gain = np.exp(-2 * (np.pi * 0.7) ** 2 * (rows[:, None] ** 2 + columns**2))
    return to_uint8(np.fft.ifft2(np.fft.fft2(images.astype(float)) * gain).real)


def checkerboard(images: Images) -> Images:
    board = np.indices(images.shape[1:]).sum(axis=0) % 2
    return to_uint8(images + 4.0 * board * (images > 8))


FAULTS: dict[str, Callable[[Images], Images]] = {
    "the same": lambda images: images,
    "+ noise, sigma 5": noise,
    "blurred, sigma 0.7": blur,
    "black raised to 2": lambda images: np.maximum(images, 2),
    "1.2 times as bright": lambda images: to_uint8(images * 1.2),
    "checkerboard of 4 levels": checkerboard,
}

if __name__ == "__main__":
    main()
