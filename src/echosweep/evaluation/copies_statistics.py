"""Two published statistics of memorising, of features: AuthPct and C_T.

Both ask whether generated images are nearer to the training set than chance has it: AuthPct
measures each against the distances within the training set, C_T against held-out images.
Invariant: the training set's own distances never include a point's distance to itself.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from echosweep import rng
from echosweep.evaluation.neighbours import Groups, Vectors, nearest, read
from echosweep.evaluation.sets import Subset

_CELLS = 5
_LEAST_IN_CELL = 20  # the normal approximation of U needs about 20 on each side
_KMEANS_ROWS, _KMEANS_STEPS = 10_000, 20


class CellTest(NamedTuple):
    """value: C_T, None where no cell has enough images. cells: those that have."""

    value: float | None
    cells: int


def auth_pct(
    generated: Vectors, train: Vectors, groups: Groups | None = None, memory: int = 2**30
) -> float:
    """Return the percentage of generated rows that are authentic (Alaa et al. 2022).

    One is authentic if the nearest training row is nearer to another training row than to it.
    groups (M,): only training rows of another group count as another; a video's next frame is
    always near. 100 is best; near-copies pull it down.
    """
    groups = np.arange(len(train)) if groups is None else groups
    found = nearest(generated, train, memory=memory)
    rows, where = np.unique(found.rows[:, 0], return_inverse=True)
    others = nearest(Subset(train, rows), train, apart=(groups[rows], groups), memory=memory)
    authentic = found.distances[:, 0] > others.distances[where, 0]
    return 100 * float(authentic.mean())


def c_t(
    generated: Vectors, train: Vectors, held_out: Vectors, seed: int = 0, memory: int = 2**30
) -> CellTest:
    """Return the data-copying statistic C_T (Meehan et al. 2020): copying is negative.

    In each of 5 k-means cells of the training set, the Mann-Whitney z of the generated distances
    to the training set against the held-out ones; the mean, weighted by the held-out share. Cells
    with fewer than 20 images of either are left out. Below about -3 generated images are nearer
    to the training set than held-out ones are, above 3 they are farther (underfitting).
    """
    centres = _k_means(train, min(_CELLS, len(train)), seed)
    sides = [
        (nearest(side, train, memory=memory).distances[:, 0], nearest(side, centres).rows[:, 0])
        for side in (generated, held_out)
    ]
    found = []
    for cell in range(len(centres)):
        made, held = (distances[cells == cell] for distances, cells in sides)
        if min(len(made), len(held)) >= _LEAST_IN_CELL:
            found.append((len(held), mann_whitney_z(made, held)))
    if not found:
        return CellTest(None, 0)
    sizes, values = zip(*found, strict=True)
    return CellTest(float(np.average(values, weights=sizes)), len(found))


def mann_whitney_z(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return z of U = #{first > second} (ties half): positive where `first` is larger."""
    n, m = len(first), len(second)
    ordered = np.sort(second)
    below = np.searchsorted(ordered, first, "left") + np.searchsorted(ordered, first, "right")
    return float((below.sum() / 2 - n * m / 2) / np.sqrt(n * m * (n + m + 1) / 12))


def _k_means(vectors: Vectors, cells: int, seed: int) -> NDArray[np.float64]:
    """Return cell centres (k, D) by Lloyd's steps from rows drawn by `seed`."""
    order = np.random.default_rng(rng.derive("k-means", seed)).permutation(len(vectors))
    x = read(vectors, np.sort(order[:_KMEANS_ROWS])).numpy()
    centres = x[np.linspace(0, len(x) - 1, cells).astype(int)]
    for _ in range(_KMEANS_STEPS):
        cell = nearest(x, centres).rows[:, 0]
        held = np.unique(cell)  # a cell that lost all its rows is dropped
        centres = np.stack([x[cell == c].mean(0) for c in held])
    return np.asarray(centres)
