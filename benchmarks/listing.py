"""What `prepare` spends besides decoding: listing, deciding, looking for equal videos, the summary.

    python benchmarks/listing.py --files 20000

Prints each part's share of the whole call, and the memory at the end. Invariant: the videos are of
EchoNet-Dynamic's codec and size, but short, so the shares are larger than on real ones.
"""

import argparse
import contextlib
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from echosweep.data import prepare as module
from echosweep.data.phantom import encode_mjpeg
from echosweep.data.prepare import prepare

_PARTS = ("make_plan", "find_twins", "split_clips", "summarise")


def make(folder: Path, files: int, frames: int) -> Path:
    """Write `files` videos of `frames` frames, each another picture, to subfolders of 100."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:112, :112] / 112
    for number in range(files):
        fx, fy, phase, level = rng.uniform(0, 6, 4)
        wave = np.sin(fx * x + fy * y + phase) * 40 + 20 * level + 45
        images = [np.clip(wave + 3 * t, 0, 255).astype(np.uint8) for t in range(frames)]
        path = folder / f"p{number // 100:04}" / f"v{number:06}.avi"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_mjpeg(images, 112, 50))
    return folder


@contextlib.contextmanager
def timed(spent: dict[str, float]) -> Iterator[None]:
    """Add up the seconds that `prepare` spends in each of _PARTS."""
    originals = {name: getattr(module, name) for name in _PARTS}

    def wrap(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*args, **named)
            finally:
                spent[name] = spent.get(name, 0.0) + time.perf_counter() - started

        return run

    for name, function in originals.items():
        setattr(module, name, wrap(name, function))
    try:
        yield
    finally:
        for name, function in originals.items():
            setattr(module, name, function)


def main() -> None:
    """Time one call on made-up videos and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--frames", type=int, default=50)
    parser.add_argument("--workers", type=int)
    given = parser.parse_args()
    spent: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        source = make(Path(folder, "in"), given.files, given.frames)
        with timed(spent):
            started = time.perf_counter()
            store = prepare(
                source, Path(folder, "store"), patient_from="folder", workers=given.workers
            )
            whole = time.perf_counter() - started
        print(f"{len(store.videos)} videos, {len(store)} images: {whole:.1f} s")
        for name in _PARTS:
            print(f"  {name:12} {spent[name]:7.2f} s  {spent[name] / whole:6.2%}")
        print(f"  together     {sum(spent.values()):7.2f} s  {sum(spent.values()) / whole:6.2%}")
        size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"largest memory of this process: {size:.0f} MB")


if __name__ == "__main__":
    main()
