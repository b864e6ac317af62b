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

import av

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


def rates(source: Path) -> tuple[float, float]:
    """Return frames of the source per second: bare decode, `prepare` with one worker."""
    start = time.perf_counter()
    frames = decode_only(files(source, video.SUFFIXES))
    middle = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        prepare(source, Path(out) / "store", workers=1)
        end = time.perf_counter()
    return frames / (middle - start), frames / (end - middle)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--source", type=Path, default=Path(DATA) / "clips")
    arguments = parser.parse_args()
    rates(arguments.source)  # fills the page cache
    pairs = [rates(arguments.source) for _ in range(arguments.pairs)]
    print(f"{'bare (frames/s)':>16} {'prepare':>9} {'ratio':>6}")
    for bare, prepared in pairs:
        print(f"{bare:16.0f} {prepared:9.0f} {prepared / bare:6.3f}")
    ratios = [prepared / bare for bare, prepared in pairs]
    print(f"median ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
