"""How fast is the exact neighbour search, and beside the naive way?

The naive way sums float64 differences of one query against the whole base at a time. Pairs, run
alternately at a smaller size; then the large search alone, with the most memory it held.
`OMP_NUM_THREADS=2 python benchmarks/neighbours.py`
"""

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from echosweep.evaluation.neighbours import Neighbours, nearest

Images = NDArray[np.uint8]


def naive(queries: Images, base: Images) -> Neighbours:
    """Return each query's nearest row of `base`."""
    vectors = base.reshape(len(base), -1).astype(np.float64)
    found = Neighbours(np.empty((len(queries), 1)), np.empty((len(queries), 1), np.int64))
    for i, query in enumerate(queries.reshape(len(queries), -1).astype(np.float64)):
        distances = np.square(vectors - query).sum(1)
        found.rows[i] = distances.argmin()
        found.distances[i] = np.sqrt(distances[found.rows[i]])
    return found


def speckle(count: int, size: int, seed: int) -> Images:
    """Return images of smoothed noise: neighbours as far apart as in real sets is what counts."""
    draw = np.random.default_rng(seed)
    coarse = draw.integers(0, 256, (count, size // 4, size // 4), dtype=np.uint8)
    images: Images = coarse.repeat(4, 1).repeat(4, 2)
    images //= 2
    images += draw.integers(0, 64, images.shape, dtype=np.uint8)
    return images


def resident() -> float:
    """Return the GiB this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**30


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=5000)
    parser.add_argument("--base", type=int, default=50_000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=3)
    arguments = parser.parse_args()
    queries = speckle(arguments.queries, arguments.size, 0)
    base = speckle(arguments.base, arguments.size, 1)
    before, core = resident(), time.process_time()
    long = seconds(lambda: nearest(queries, base))
    core = time.process_time() - core
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20 - before
    print(
        f"{len(queries)} x {len(base)}: {long:.1f} s by the clock, {core:.1f} s of core time, "
        f"at most {peak:.2f} GiB above the images"
    )
    few, some = queries[:100], base[:4000]
    np.testing.assert_array_equal(nearest(few, some).rows, naive(few, some).rows)
    ratios = [
        seconds(lambda: naive(few, some)) / seconds(lambda: nearest(few, some))
        for _ in range(arguments.pairs)
    ]
    print(f"naive / blocks, {len(few)} x {len(some)}: median {statistics.median(ratios):.1f}")


if __name__ == "__main__":
    main()
