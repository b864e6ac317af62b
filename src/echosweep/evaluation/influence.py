"""How far the Fréchet distance would move with other images: its standard error in one pass.

To first order, leaving the images' weights w_i free, d = d_0 + sum_i (w_i - 1/n) f(x_i), where

    f(x) = 2 (m - m')^T (x - m) + (x - m)^T (I - T) (x - m) + const,   T S T = S'

and T is the optimal map between the two Gaussians. The bootstrap of such a sum has its variance in
closed form, so no resample is drawn (the infinitesimal jackknife, Efron 1982, chapter 6).
Invariant: whole groups are resampled, so frames of one patient are not counted as independent.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from echosweep.evaluation.fid import centred, factorise, statistics
from echosweep.evaluation.sets import Rows, Side, shards

Floats = NDArray[np.float64]


def standard_error(generated: Side, reference: Side) -> float | None:
    """Return the standard error of the distance: both sides redrawn by groups (patients, videos).

    It errs on the large side where images are few against the features (about a third at
    D = N). None where a side is a single group, or the features of both are degenerate.
    """
    found = influences(generated.features, reference.features)
    if found is None or min(generated.groups.max(), reference.groups.max()) < 1:
        return None
    sides = zip(found, (generated.groups, reference.groups), strict=True)
    return float(np.sqrt(sum(_variance(f, groups) for f, groups in sides)))


def influences(first: Rows, second: Rows) -> tuple[Floats, Floats] | None:
    """Return f of each image of both sets, (N,) and (M,), each with mean 0; None if degenerate."""
    if max(len(first), len(second)) <= first.shape[1]:
        return _by_products(first, second)
    found = _by_features(first, second)
    if found is None and (swapped := _by_features(second, first)) is not None:
        found = swapped[::-1]
    return found


def _by_products(first: Rows, second: Rows) -> tuple[Floats, Floats]:
    """Return the influences from the N x M product: for fewer images than features."""
    x, y = (np.asarray(rows[:], np.float64) for rows in (first, second))
    delta = x.mean(axis=0) - y.mean(axis=0)
    x, y = centred(x), centred(y)
    u, roots, v = (t.numpy() for t in torch.linalg.svd(torch.from_numpy(x @ y.T), False))
    return (
        _centred(_raw(x * np.sqrt(len(x) - 1), delta, (u**2 @ roots) * (len(x) - 1))),
        _centred(_raw(y * np.sqrt(len(y) - 1), -delta, (v.T**2 @ roots) * (len(y) - 1))),
    )


def _by_features(first: Rows, second: Rows) -> tuple[Floats, Floats] | None:
    """Return the influences from the covariances; None where the first is (nearly) singular.

    With S = L L^T and L^T S' L = V W V^T, T is L^-T V W^(1/2) V^T L^-1, and the map back its
    inverse, L V W^(-1/2) V^T L^T.
    """
    one, two = statistics(shards(first)), statistics(shards(second))
    factor = factorise(torch.from_numpy(one.cov))
    if factor is None:
        return None
    lower = factor.matrix
    values, vectors = torch.linalg.eigh(lower.T @ torch.from_numpy(two.cov) @ lower)
    rank = min(two.n - 1, len(values))
    roots = values[-rank:].clamp(min=values[-1] * 1e-14).sqrt()
    vectors = vectors[:, -rank:]
    there = factor.solve_transposed(vectors) * roots.sqrt()
    back = lower @ vectors / roots.sqrt()
    delta = one.mean - two.mean
    return _mapped(first, one.mean, delta, there), _mapped(second, two.mean, -delta, back)


def _mapped(rows: Rows, mean: Floats, delta: Floats, half_map: Tensor) -> Floats:
    """Return the influences of `rows`, where T = half_map half_map^T."""
    parts = []
    for shard in shards(rows):
        x = shard - mean
        parts.append(_raw(x, delta, ((x @ half_map.numpy()) ** 2).sum(axis=1)))
    return _centred(np.concatenate(parts))


def _raw(x: Floats, delta: Floats, mapped: Floats) -> Floats:
    result: Floats = 2 * x @ delta + (x**2).sum(axis=1) - mapped
    return result


def _centred(raw: Floats) -> Floats:
    result: Floats = raw - raw.mean()
    return result


def _variance(influence: Floats, groups: NDArray[np.int64]) -> float:
    """Return the variance of the influences' mean under resampling of whole groups."""
    sums = np.bincount(groups, influence)
    return float(len(sums) / (len(sums) - 1) * (sums**2).sum() / len(influence) ** 2)
