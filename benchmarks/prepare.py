"""How fast is `prepare` beside the bare decode loop? Pairs, run alternately in one process.

The bare loop decodes every frame with PyAV and touches its luma plane: the least that any
preparation does. Run on one core, e.g. `taskset -c 0 python benchmarks/prepare.py --pairs 5`.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from echosweep.data import video
from echosweep.data.prepare import prepare
from echosweep.data.source import files

DATA = os.environ.get("ECHOSWEEP_TEST_DATA", Path(__file__).parents[2] / "shared" / "data")


def decode_only(clips: list[Path]) -> int:
    """Decode every frame of `clips`, touch its luma, and return how many there were."""
    frames = 0
    for clip in clips:
        with av.open(str(clip)) as container:
            for frame in container.decode(video=0):
                frames += memoryview(frame.planes[0])[0] >= 0
    return frames


class Pair(NamedTuple):
    """Frames of the source per second, by the clock and by the time this process had the core."""

    bare: float
    prepared: float
    bare_cpu: float
    prepared_cpu: float


def now() -> NDArray[np.float64]:
    return np.array([time.perf_counter(), time.process_time()])


def rates(source: Path) -> Pair:
    """Time the bare decode, then `prepare` with one worker."""
    start = now()
    frames = decode_only(files(source, video.SUFFIXES))
    middle = now()
    with tempfile.TemporaryDirectory() as out:
        prepare(source, Path(out) / "store", workers=1)
        end = now()
    bare, prepared = frames / (middle - start), frames / (end - middle)
    return Pair(bare[0], prepared[0], bare[1], prepared[1])


def show(title: str, ratios: list[float]) -> None:
    print(
        f"{title}: median {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--source", type=Path, default=Path(DATA) / "clips")
    arguments = parser.parse_args()
    rates(arguments.source)  # fills the page cache
    pairs = [rates(arguments.source) for _ in range(arguments.pairs)]
    print("frames/s, clock: bare  prepare | core time: bare  prepare")
    for pair in pairs:
        print(f"{pair[0]:20.0f} {pair[1]:8.0f} | {pair[2]:15.0f} {pair[3]:8.0f}")
    show("prepare / bare, clock", [pair.prepared / pair.bare for pair in pairs])
    show("prepare / bare, core time", [pair.prepared_cpu / pair.bare_cpu for pair in pairs])


if __name__ == "__main__":
    main()
