"""The kernel distance KID (Binkowski et al. 2018): the squared MMD of two sets of features.

    MMD^2 = mean k(x, x') + mean k(y, y') - 2 mean k(x, y),    k(a, b) = (a.b / D + 1)^3

over pairs x != x', y != y', so that it has no bias, whatever N, where images are independent.
Frames of one video are not: pairs of one group look alike and raise it. `kid` is what other tools
compute; `kid_between` leaves those pairs out. Invariant: equal where every image is its own group.
"""

import math
from collections.abc import Iterator
from statistics import NormalDist

import numpy as np
import torch
from numpy.typing import NDArray

from echosweep import rng
from echosweep.evaluation.sets import FEW_GROUPS, Result, Side

SUBSETS, SUBSET_SIZE = 100, 1000
_ONE_GROUP = (
    "one side, or a subset of it, holds one patient or video only: kid has no interval, and says "
    "nothing of other patients"
)
Floats = NDArray[np.float64]


def measure_kid(generated: Side, reference: Side, seed: int) -> Result:
    """Return KID: the mean of the unbiased estimate over 100 random subsets of 1000 of each side.

    Smaller sides give smaller subsets, and two equal ones of at most 1000 a single one. values:
    kid; kid_std, its standard deviation over subsets where there are several (not an error of the
    mean: subsets overlap); kid_between, where each side has two groups, with its interval, in which
    groups are the draws. Float64; O(subset size^2 + N) memory.
    """
    sides = (generated, reference)
    size = min(SUBSET_SIZE, *map(len, sides))
    subsets = 1 if size == len(generated) == len(reference) else SUBSETS
    added, seen = ([np.zeros(len(side)) for side in sides] for _ in range(2))
    kid = np.empty(subsets)
    for subset in range(subsets):
        rows = _draw(sides, size, seed, subset)
        x, y = (_features(side, chosen) for side, chosen in zip(sides, rows, strict=True))
        across = kernel(x, y)
        kernels = ((kernel(x, x), across), (kernel(y, y), across.T))
        kid[subset] = sum(witness(*pair, np.arange(size)).mean() for pair in kernels)
        for i, side in enumerate(sides):
            added[i][rows[i]] += witness(*kernels[i], side.groups[rows[i]])
            seen[i][rows[i]] += 1
    values = {"kid": float(kid.mean())} | ({"kid_std": float(kid.std())} if subsets > 1 else {})
    details = {"subsets": subsets, "subset_size": size}
    between = float(sum(a.sum() for a in added) / (subsets * size))
    if math.isnan(between):
        return Result(values, details=details, notes=[_ONE_GROUP])
    groups = [side.groups for side in sides]
    variance = sum(map(group_variance, added, seen, groups))
    half = NormalDist().inv_cdf(0.975) * math.sqrt(variance)
    values["kid_between"] = between
    interval = {"kid_between": (between - half, between + half)}
    return Result(values, interval, details, notes=list(_notes(groups)))


def kernel(x: Floats, y: Floats) -> Floats:
    """Return k(x_i, y_j) = (x_i.y_j / D + 1)^3, (N, M), of features (N, D) and (M, D)."""
    k: Floats = x @ y.T / x.shape[1] + 1
    return k * k * k  # numpy's power is ten times slower


def witness(within: Floats, across: Floats, groups: NDArray[np.int64]) -> Floats:
    """Return what each image of one side adds to MMD^2, (N,): the two sides' means sum to it.

    within: its kernel with its own side (N, N), of which pairs of one group are left out. across:
    with the other side (N, M). groups: (N,); NaN where there is one group only.
    """
    apart = groups[:, None] != groups
    pairs = int(apart.sum()) or math.nan
    w: Floats = len(groups) * (within * apart).sum(axis=1) / pairs - across.mean(axis=1)
    return w


def group_variance(added: Floats, seen: Floats, groups: NDArray[np.int64]) -> float:
    """Return the variance that one side brings to the mean of MMD^2 over subsets.

    added: each image's witness, summed over the `seen` subsets that held it. The first-order
    (Hoeffding) term of the U-statistic is 2 (witness - mean) / N; its sums over groups are
    independent. Where both sides have one distribution it vanishes, and this errs on the wide side.
    """
    influence = 2 * (added - seen * (added.sum() / seen.sum())) / seen.sum()
    by_group = np.bincount(groups, influence)
    return float((by_group**2).sum() * len(by_group) / (len(by_group) - 1))


def _draw(sides: tuple[Side, Side], size: int, seed: int, subset: int) -> list[NDArray[np.int64]]:
    """Return `size` positions of each side, ascending: disks like to be read in order."""
    draw = rng.generator("kid", seed, subset)
    return [np.sort(torch.randperm(len(side), generator=draw)[:size].numpy()) for side in sides]


def _features(side: Side, chosen: NDArray[np.int64]) -> Floats:
    assert side.features is not None, "KID is a metric of features"
    return np.asarray(side.features[chosen], np.float64)


def _notes(groups: list[NDArray[np.int64]]) -> Iterator[str]:
    counts = [int(side.max()) + 1 for side in groups]
    if counts != [len(side) for side in groups]:
        yield (
            "kid counts frames of one patient or video as independent, which raises it; "
            "kid_between does not: compare kid with other tools, and judge by kid_between"
        )
    if min(counts) < FEW_GROUPS:
        yield (
            f"one side has {min(counts)} patients or videos: the interval of kid_between is too "
            f"narrow with fewer than {FEW_GROUPS}"
        )
