"""The optimal FID: how far real images are from real ones, at every number of images.

No generator can be told to be better than real against real (Reynaud & Kainz 2023: 0.88 at 64 px).
The distance is biased by c / N, so it is measured at several N and a line in 1/N gives its value
for infinitely many images (Chong & Forsyth 2020). Invariant: the two halves of a split share no
frame, or, by video, no patient.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echosweep import rng
from echosweep.errors import UsageError
from echosweep.evaluation.fid import distances_by_count
from echosweep.evaluation.sets import Rows, Side, Subset
from echosweep.progress import Progress, silent

Halves = tuple[NDArray[np.int64], NDArray[np.int64]]
POINTS = 8
USUAL = 50_000  # images of published FIDs: an evaluation looks at no more for its floor


@dataclass(frozen=True)
class Curve:
    """Distance against N: `values[i][j]` is of repeat i at `counts[j]` images a side."""

    counts: list[int]
    values: list[list[float]]

    @property
    def intercepts(self) -> list[float]:
        """Return the distance at infinite N of each repeat, by least squares over 1/N."""
        return [fit(self.counts, values)[0] for values in self.values]

    def record(self) -> dict[str, Any]:
        """Return it as JSON, with the fitted line d = infinity + slope / N of the mean."""
        mean = np.mean(self.values, axis=0)
        infinity, slope = fit(self.counts, list(mean))
        final = [values[-1] for values in self.values]
        return asdict(self) | {
            "mean": float(np.mean(final)),
            "std": spread(final),
            "infinity": infinity,
            "infinity_std": spread(self.intercepts),
            "slope": slope,
        }


def fit(counts: Sequence[int], values: Sequence[float]) -> tuple[float, float]:
    """Return (a, b) of the least-squares line value = a + b / count."""
    if len(counts) < 2:
        return float(values[-1]), 0.0
    slope, intercept = np.polyfit(1 / np.asarray(counts, float), values, 1)
    return float(intercept), float(slope)


def spread(values: Sequence[float]) -> float:
    """Return the standard deviation over repeats (N - 1), 0 for a single one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def halve(side: Side, by: str, seed: int) -> Halves:
    """Return the positions of two disjoint halves, each in an order drawn by `seed`.

    by "frame": any images. by "video": whole groups (patients, or videos where patients are not
    known), dealt in a drawn order to the half that has fewer images.
    """
    draw = np.random.default_rng(rng.derive("floor", by, seed))
    if by == "frame":
        order = draw.permutation(len(side))
        return order[: len(side) // 2], order[len(side) // 2 :]
    sizes = np.bincount(side.groups)
    if len(sizes) < 2:
        raise UsageError(
            f"{side.store.path}: {len(side)} images of one patient or video cannot be split by "
            "video; prepare more videos, or split by frame (--by frame)"
        )
    in_first, counts = np.zeros(len(sizes), bool), [0, 0]
    for group in draw.permutation(len(sizes)):
        half = int(counts[1] < counts[0])
        in_first[group] = half == 0
        counts[half] += int(sizes[group])
    member = in_first[side.groups]
    halves = (draw.permutation(np.flatnonzero(m)) for m in (member, ~member))
    return next(halves), next(halves)


def counts_up_to(n: int, dims: int, points: int = POINTS) -> list[int]:
    """Return numbers of images at which to measure, even in 1/N, from a quarter of n to n.

    Below `dims` images the distance does not follow the line, so there the first is dims + 1.
    """
    least = max(n / 4, min(dims + 1, n / 1.5), 2)
    return sorted({int(n / step) for step in np.linspace(n / least, 1, points)})


def largest_half(side: Side, by: str, num: int | None, splits: int, seed: int) -> int:
    """Return `num`, or the images that each half of all `splits` has. UsageError for too many."""
    halves = [half for i in range(splits) for half in halve(side, by, seed + i)]
    most = min(map(len, halves))
    if num is not None and num > most:
        raise UsageError(
            f"--num {num}: halves of {side.store.path} by {by} have {most} images; ask for at most "
            "that many"
        )
    if most < 2:
        raise UsageError(f"{side.store.path}: {len(side)} images are too few to be halved by {by}")
    return num or most


def floor_curve(
    side: Side, by: str, n: int, splits: int, seed: int, progress: Progress = silent
) -> Curve:
    """Return the distance between halves of real images, for `splits` seeded ways to halve them.

    n: images a half, at most `largest_half`.
    """
    halves = [halve(side, by, seed + i) for i in range(splits)]
    counts = counts_up_to(n, side.features.shape[1])
    return measured(side.features, side.features, halves, counts, progress)


def measured(
    first: Rows,
    second: Rows,
    orders: Sequence[Halves],
    counts: list[int],
    progress: Progress = silent,
) -> Curve:
    """Return the curve of the first n of both orders, for each pair of orders."""
    values = []
    for i, (one, other) in enumerate(orders):
        progress(i, len(orders))
        values.append(distances_by_count(Subset(first, one), Subset(second, other), counts))
    progress(len(orders), len(orders))
    return Curve(counts, values)


def above_floor(
    generated: Side, reference: Side, splits: int, seed: int, points: int
) -> tuple[Curve, Curve, str] | None:
    """Return the distance to half A of the reference: of generated images, and of half B.

    Both at the same numbers of images and for the same halves, so that their difference is free of
    the bias by N. By video where the reference has several, else by frame; of at most USUAL images.
    None where a half has but one image.
    """
    by: str = "video" if reference.groups.max() > 0 else "frame"
    halves = [halve(reference, by, seed + i) for i in range(splits)]
    n = min(USUAL, len(generated), *(len(half) for pair in halves for half in pair))
    if n < 2:
        return None
    counts = counts_up_to(n, reference.features.shape[1], points)
    draw = np.random.default_rng(rng.derive("floor", "generated", seed))
    made = [(draw.permutation(len(generated)), half) for half, _ in halves]
    real = [(other, half) for half, other in halves]
    return (
        measured(generated.features, reference.features, made, counts),
        measured(reference.features, reference.features, real, counts),
        by,
    )
