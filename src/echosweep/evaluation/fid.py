"""The Fréchet distance between two Gaussians fitted to features (Heusel et al. 2017).

    d = |m - m'|^2 + Tr S + Tr S' - 2 Tr (S S')^(1/2)

With any factor S = L L^T the last trace is the sum of the square roots of the eigenvalues of
L^T S' L, so no matrix root is taken. Invariant: statistics of shards, merged in any order, are
those of the whole; all sums are float64.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from echosweep.evaluation.sets import Rows, Subset, shards

_SOUND = 1e-5  # the smallest pivot of correlations that leaves a distance good to 1e-6
_DEAD = 1e-20  # of the largest variance: what rounding leaves of a feature that never changes


@dataclass(frozen=True)
class Statistics:
    """Count, mean (D,) and scatter (D, D) of features; covariance = scatter / (n - 1)."""

    n: int
    mean: NDArray[np.float64]
    scatter: NDArray[np.float64]

    @classmethod
    def of(cls, features: NDArray[Any]) -> "Statistics":
        """Return the statistics of features (N, D)."""
        x = np.asarray(features, np.float64)
        mean = x.mean(axis=0)
        x = x - mean
        return cls(len(x), mean, x.T @ x)  # one array: half the work of a general product

    @property
    def cov(self) -> NDArray[np.float64]:
        """Return the covariance (D, D), over N - 1."""
        return self.scatter / (self.n - 1)

    def merge(self, other: "Statistics") -> "Statistics":
        """Return the statistics of both sets together (Chan, Golub & LeVeque 1983, eq. 2.1)."""
        n, delta = self.n + other.n, other.mean - self.mean
        mean = self.mean + delta * (other.n / n)
        between = np.outer(delta, delta) * (self.n * other.n / n)
        return Statistics(n, mean, self.scatter + other.scatter + between)


def statistics(shards: Iterable[NDArray[Any]]) -> Statistics:
    """Return the statistics of features that come in shards (n, D)."""
    return reduce(Statistics.merge, map(Statistics.of, shards))


def frechet_distance(first: Statistics, second: Statistics) -> float:
    """Return the squared Fréchet distance of the Gaussians with these means and covariances.

    Symmetric in its arguments; covariances of fewer images than features are fine. Slightly
    negative values of rounding are returned as 0.
    """
    delta = first.mean - second.mean
    traces = np.trace(first.cov) + np.trace(second.cov)
    return max(float(delta @ delta + traces - 2 * _trace_root(first, second)), 0.0)


def distance_of(first: Rows, second: Rows) -> float:
    """Return the squared Fréchet distance of two sets of features (N, D), (M, D).

    Where both have fewer images than features, their covariances are products of thin matrices and
    the distance comes from one N x M product: the same value, thousands of times faster.
    """
    if max(len(first), len(second)) > first.shape[1]:
        return frechet_distance(statistics(shards(first)), statistics(shards(second)))
    x, y = (np.asarray(rows[:], np.float64) for rows in (first, second))
    delta = x.mean(axis=0) - y.mean(axis=0)
    x, y = centred(x), centred(y)
    roots = torch.linalg.svdvals(torch.from_numpy(x @ y.T))
    return max(float(delta @ delta + (x**2).sum() + (y**2).sum() - 2 * roots.sum()), 0.0)


def centred(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return X (N, D) with X^T X = the covariance of the features x (N, D)."""
    result: NDArray[np.float64] = (x - x.mean(axis=0)) / np.sqrt(len(x) - 1)
    return result


def distances_by_count(first: Rows, second: Rows, counts: Sequence[int]) -> list[float]:
    """Return the distance of the first n of each set, for every n of the ascending `counts`."""
    dims, result = first.shape[1], []
    sums: list[Statistics | None] = [None, None]
    seen = 0
    for n in counts:
        if n <= dims:
            result.append(distance_of(*(Subset(rows, np.arange(n)) for rows in (first, second))))
            continue
        for i, rows in enumerate((first, second)):
            more = statistics(shards(Subset(rows, np.arange(seen, n))))
            known = sums[i]
            sums[i] = more if known is None else known.merge(more)
        seen = n
        assert sums[0] is not None
        assert sums[1] is not None
        result.append(frechet_distance(sums[0], sums[1]))
    return result


def _trace_root(first: Statistics, second: Statistics) -> float:
    """Return Tr (S S')^(1/2)."""
    one, two = torch.from_numpy(first.cov), torch.from_numpy(second.cov)
    rank = min(first.n - 1, second.n - 1, len(one))
    for cov, other in ((one, two), (two, one)):
        factor = factorise(cov)
        if factor is not None:
            values = torch.linalg.eigvalsh(factor.matrix.T @ other @ factor.matrix)
            return float(values[-rank:].clamp(min=0).sqrt().sum())  # the others are rounding
    return float(torch.linalg.svdvals(_root(one).T @ _root(two)).sum())


class Factor(NamedTuple):
    """A covariance as L L^T with L = diag(scale) lower: the Cholesky factor of the correlations.

    Features that never change have scale 0 and trouble nobody; those of small variance keep their
    digits.
    """

    scale: Tensor
    lower: Tensor

    @property
    def matrix(self) -> Tensor:
        """Return L (D, D)."""
        return self.scale[:, None] * self.lower

    def solve_transposed(self, x: Tensor) -> Tensor:
        """Return L^-T x for x (D, k); 0 for features that never change."""
        solved: Tensor = torch.linalg.solve_triangular(self.lower.T, x, upper=True)
        return _inverse(self.scale)[:, None] * solved


def factorise(cov: Tensor) -> Factor | None:
    """Return the factor of `cov`, None where features are (nearly) functions of one another."""
    variance = cov.diagonal()
    scale = torch.where(variance > variance.max() * _DEAD, variance, 0.0).sqrt()
    correlation = cov * _inverse(scale)[:, None] * _inverse(scale)
    correlation.diagonal().fill_(1.0)
    lower, failed = torch.linalg.cholesky_ex(correlation)
    return Factor(scale, lower) if not failed and lower.diagonal().min() > _SOUND else None


def _inverse(scale: Tensor) -> Tensor:
    return torch.where(scale > 0, 1 / scale, 0.0)


def _root(cov: Tensor) -> Tensor:
    """Return R (D, rank) with R R^T = cov: eigenvectors times root eigenvalues, nulls left out."""
    values, vectors = torch.linalg.eigh(cov)
    kept = values > values[-1] * len(values) * torch.finfo(values.dtype).eps
    root: Tensor = vectors[:, kept] * values[kept].sqrt()
    return root
