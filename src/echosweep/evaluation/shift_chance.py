"""How far from one half an accuracy or an AUC is by chance, where images come in groups.

A group's mean of right and wrong is within [0, 1], so sub-Gaussian with variance 1/4 (Hoeffding
1963), whatever its images share; its mean rank is so with the 1/12 of a uniform draw. Weights w of
groups add up to w^2: Kish's effective number of images is 1 / sum(w^2).
Invariant: no margin assumes that two images of one group tell more than one.
"""

from math import log, sqrt

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.05  # of all tests of a panel together
Floats = NDArray[np.floating]


def concentration(groups: NDArray[np.int64]) -> float:
    """Return sum(w^2) over groups (n,), w being the share of images that a group has."""
    counts = np.unique(groups, return_counts=True)[1]
    return float(np.square(counts / counts.sum()).sum())


def accuracy_variance(generated: float, reference: float) -> float:
    """Return the most that a balanced accuracy varies by chance, from both concentrations.

    It is 1/2 + (m - r) / 2, m and r being the shares of either side that are called generated;
    where the sides are alike these have one mean, and a variance of at most sum(w^2) / 4 each.
    """
    return (generated + reference) / 16


def auc_variance(generated: float, reference: float) -> float:
    """Return the most that an AUC varies by chance, from both concentrations.

    For single images it is Mann and Whitney's (n + m + 1) / (12 n m).
    """
    return (generated + reference + generated * reference) / 12


def margin(variance: float, tests: int = 1) -> float:
    """Return how far above its mean a value must be to be no chance: sqrt(2 v ln(tests / LEVEL)).

    By chance any of `tests` such values exceeds it in at most LEVEL of panels: the bound of a
    sub-Gaussian, by Bonferroni.
    """
    return sqrt(2 * variance * log(tests / LEVEL))


def auc(generated: Floats, reference: Floats) -> float:
    """Return the share of pairs in which the generated value is higher; ties are half."""
    ordered = np.sort(reference)
    below, through = (np.searchsorted(ordered, generated, end) for end in ("left", "right"))
    return float((below + through).mean() / (2 * len(ordered)))
