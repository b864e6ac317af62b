"""Precision, recall, density and coverage: fidelity and diversity of generated features, apart.

A set's manifold is the union of balls around its points, each reaching to the point's k-th
neighbour (k = 5). Precision and density ask whether generated images lie in the reference's balls
(fidelity), recall and coverage whether the reference is reached (diversity). Invariant: strict
inequality on float64 distances; equal distances are equal bits, so a border is always outside.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from echosweep import rng
from echosweep.errors import UsageError
from echosweep.evaluation.neighbours import (
    Vectors,
    block_rows,
    blocks,
    nearest,
    pair_distances,
    read,
    squared,
)
from echosweep.evaluation.sets import Interval, Result, Side

K = 5
MOST = 20_000  # images of a side: all pairs are looked at, so the time is the product of both
_RESAMPLES = 1000
_CLOSE = 1e-9  # of the largest squared distance: this near to a border a distance is summed again

Numbers = NDArray[np.float64]


class Counts(NamedTuple):
    """Per generated image: balls of the reference it lies in. Per reference image: see below.

    reached: it lies in a generated ball (recall). covered: its ball holds a generated image.
    """

    balls: Numbers
    reached: Numbers
    covered: Numbers


def measure_prdc(generated: Side, reference: Side, seed: int) -> Result:
    """Return precision, recall (Kynkäänniemi et al. 2019, eq. 1-2), density and coverage (Naeem
    et al. 2020, section 3) of features, k = 5.

    precision: share of generated images within the reference's manifold; recall: share of
    reference images within the generated one; density: reference balls an image lies in, over k
    (about 1; it may exceed 1); coverage: share of reference balls with a generated image inside.
    Sides of more than 20,000 images are subsampled by `seed`. Intervals resample the groups of
    the side a mean is over. Raises UsageError for a side without features or with at most k images.
    """
    check_prdc(generated, reference)
    picked = _draw(generated, "generated", seed), _draw(reference, "reference", seed)
    made, real = (s.features[rows] for s, rows in zip((generated, reference), picked, strict=True))
    counts = count(made, real, K)
    groups = generated.groups[picked[0]], reference.groups[picked[1]]
    means: dict[str, tuple[Numbers, NDArray[np.int64]]] = {
        "precision": ((counts.balls > 0).astype(float), groups[0]),
        "recall": (counts.reached, groups[1]),
        "density": (counts.balls / K, groups[0]),
        "coverage": (counts.covered, groups[1]),
    }
    return Result(
        {name: float(np.mean(values)) for name, (values, _) in means.items()},
        _intervals(means, seed),
        {"k": K, "n_generated": len(picked[0]), "n_reference": len(picked[1])},
        _notes(generated, reference, picked),
    )


def check_prdc(generated: Side, reference: Side) -> None:
    """Raise UsageError for a side of at most k images."""
    for side in (generated, reference):
        if len(side) <= K:
            raise UsageError(
                f"{side.store.path}: {len(side)} images have no {K}-th neighbour each; give at "
                f"least {K + 1}, better some thousands, or leave out the metric prdc"
            )


def count(generated: Vectors, reference: Vectors, k: int, memory: int = 2**30) -> Counts:
    """Return which balls hold which points, generated (N, D) and reference (M, D) features."""
    # A point is its own nearest neighbour, at 0: the k-th other one is number k + 1.
    of_generated = nearest(generated, generated, k + 1, memory=memory).distances[:, -1]
    of_reference = nearest(reference, reference, k + 1, memory=memory).distances[:, -1]
    balls, reached = np.zeros(len(generated)), np.zeros(len(reference), bool)
    covered = np.zeros(len(reference), bool)
    size = block_rows(generated.shape[1], memory, 16)
    centre = read(reference, np.arange(min(size, len(reference)))).mean(0)  # as in `neighbours`
    for rows in blocks(np.arange(len(generated)), size):
        x = read(generated, rows) - centre
        for columns in blocks(np.arange(len(reference)), size):
            distances = _exact_at(
                squared(x, read(reference, columns) - centre).numpy(),
                (generated, reference, rows, columns),
                (of_generated[rows][:, None], of_reference[columns]),
            )
            inside = distances < of_reference[columns]
            balls[rows] += inside.sum(1)
            covered[columns] |= inside.any(0)
            reached[columns] |= (distances < of_generated[rows][:, None]).any(0)
    return Counts(balls, reached.astype(float), covered.astype(float))


def _exact_at(
    distances: Numbers,
    pairs: tuple[Vectors, Vectors, NDArray[np.int64], NDArray[np.int64]],
    radii: tuple[Numbers, Numbers],
) -> Numbers:
    """Return roots of squared distances, those near a radius summed exactly."""
    generated, reference, rows, columns = pairs
    slack = _CLOSE * distances.max(initial=0.0)
    near = np.zeros(distances.shape, bool)
    for radius in radii:
        near |= np.abs(distances - radius**2) <= slack
    distances = np.sqrt(distances.clip(0))
    at = np.argwhere(near)
    if len(at):
        of, to = rows[at[:, 0]], columns[at[:, 1]]
        distances[near] = pair_distances(generated, reference, of, to[:, None])[:, 0]
    return distances


def _draw(side: Side, name: str, seed: int) -> NDArray[np.int64]:
    """Return the positions that take part, ascending."""
    if not len(side.features):
        raise UsageError(f"the {name} side has no features; give both sides features to compare")
    if len(side) <= MOST:
        return np.arange(len(side))
    draw = np.random.default_rng(rng.derive("prdc", name, seed))
    return np.sort(draw.choice(len(side), MOST, replace=False))


def _intervals(
    means: Mapping[str, tuple[Numbers, NDArray[np.int64]]], seed: int
) -> dict[str, Interval]:
    found = {name: group_interval(*mean, seed) for name, mean in means.items()}
    return {name: interval for name, interval in found.items() if interval}


def group_interval(values: Numbers, groups: NDArray[np.int64], seed: int) -> Interval | None:
    """Return a 95 % bootstrap interval of a mean, whole groups redrawn; None for one group.

    values, groups: (n,). The percentiles of 1000 resampled ratios, sum over count.
    """
    numbers = np.unique(groups, return_inverse=True)[1]
    sums, sizes = np.bincount(numbers, values), np.bincount(numbers)
    if len(sums) < 2:
        return None
    draw = np.random.default_rng(rng.derive("group interval", seed))
    means = np.empty(_RESAMPLES)
    for i in range(_RESAMPLES):
        chosen = draw.integers(0, len(sums), len(sums))
        means[i] = sums[chosen].sum() / sizes[chosen].sum()
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def _notes(
    generated: Side, reference: Side, picked: tuple[NDArray[np.int64], NDArray[np.int64]]
) -> list[str]:
    notes = ["intervals hold the balls fixed: what another draw of the neighbours moves is not in"]
    for side, rows in zip((generated, reference), picked, strict=True):
        if len(rows) < len(side):
            notes.append(f"{len(rows)} of {len(side)} images of {side.store.path} take part")
    if len(picked[0]) != len(picked[1]):
        notes.append(
            f"the sets differ in size ({len(picked[0])} and {len(picked[1])}); all four depend on "
            "both, so compare only with values of the same sizes"
        )
    sizes = np.bincount(reference.groups[picked[1]])
    if sizes.max() > K:
        notes.append(
            f"a group of the reference has up to {int(sizes.max())} images: its balls end at its "
            "own frames, so precision and coverage are low; take one frame a video for comparison"
        )
    return notes
