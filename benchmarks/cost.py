"""How do time and memory of training and drawing grow with image size and batch?

    OMP_NUM_THREADS=1 python benchmarks/cost.py [--network ddpmpp-tiny] [--sizes 32 64 112 128]

Every line is a process of its own, so its memory is its peak, PyTorch's own 0.3 GB included.
Drawing takes 16 images at a time whatever their number, so it grows with that number alone.
"""

import argparse
import resource
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import forward
import train
from echosweep.networks import NETWORKS
from pairs import Built, Options, Side, seconds

BATCH, SIZE = 16, 64
BATCHES = (1, 4, 16, 64)
CHUNK = 16  # images of a network call of `sample` on a CPU
TRIES = 3


def with_memory(build: Callable[..., Built], *args: Any) -> Built:
    """Return a piece of work that returns the peak memory of its process in bytes."""
    work, facts = build(*args)

    def measured() -> int:
        work()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    return measured, facts


def cost(options: Options, build: Callable[..., Built], *args: Any) -> tuple[float, float]:
    """Return the seconds of a call, the fastest of TRIES after one more, and the peak in GB."""
    with Side(options, with_memory, build, *args) as side:
        took = [seconds(side) for _ in range(TRIES + 1)][1:]
        return min(took), side() / 1e9


def table(options: Options, network: str, sizes: Sequence[int], batches: Sequence[int]) -> str:
    """Return what a training step and a network call of drawing cost, as Markdown."""
    lines = [
        f"| {network} | training: ms an image | GB | drawing: ms an image and evaluation | GB |",
        "|---|---|---|---|---|",
    ]
    for size, batch in dict.fromkeys([*((s, BATCH) for s in sizes), *((SIZE, b) for b in batches)]):
        settings = {"network": network, "batch": batch, "micro_batch": batch}
        step = cost(options, train.our_step, "cpu", size, settings)
        cells = [f"{step[0] / batch * 1e3:.1f}", f"{step[1]:.2f}", "", ""]
        if batch == BATCH:
            call = cost(options, forward.our_forward, CHUNK, size, network, {})
            cells[2:] = [f"{call[0] / CHUNK * 1e3:.1f}", f"{call[1]:.2f}"]
        lines.append(f"| {size} px, batch {batch} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--network", default="ddpmpp-tiny", choices=NETWORKS)
    parser.add_argument("--sizes", type=int, nargs="+", default=(32, 64, 112, 128))
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    options = Options(TRIES, given.threads, quick=False, peers=Path(".peers"))
    print(table(options, given.network, given.sizes, given.batches))


if __name__ == "__main__":
    main()
