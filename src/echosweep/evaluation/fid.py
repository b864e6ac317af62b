"""The Fréchet distance between two Gaussians fitted to features (Heusel et al. 2017).

    d = |m - m'|^2 + Tr S + Tr S' - 2 Tr (S S')^(1/2)

The last trace is the sum of the square roots of the eigenvalues of S^(1/2) S' S^(1/2), which are
the singular values of S'^(1/2) S^(1/2). Invariant: statistics of shards, merged in any order, are
those of the whole; all sums are float64.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


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
        return cls(len(x), mean, (x - mean).T @ (x - mean))

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
    roots = _root(first.cov).T @ _root(second.cov)
    return max(float(delta @ delta + traces - 2 * torch.linalg.svdvals(roots).sum()), 0.0)


def _root(cov: NDArray[np.float64]) -> Tensor:
    """Return R (D, rank) with R R^T = cov: eigenvectors times root eigenvalues, nulls left out."""
    values, vectors = torch.linalg.eigh(torch.from_numpy(cov))
    kept = values > values[-1] * len(values) * torch.finfo(values.dtype).eps
    root: Tensor = vectors[:, kept] * values[kept].sqrt()
    return root
