"""How much better than chance, and how surely: scores of a downstream task with their intervals.

Balanced accuracy and R^2 are one thing, the mean over classes of (sum of what test videos gain) /
(sum of what there is to gain). Deleting one patient at a time gives its covariance over arms (the
jackknife, Efron 1982); a ratio of two scores gets Fieller's interval (1954).
Invariant: a patient is one draw; arms are always compared on the same patients and seeds.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from echosweep.evaluation.sets import Interval

Numbers = NDArray[np.float64]
Ints = NDArray[np.int64]


class Gains(NamedTuple):
    """What each test video gains in each arm and repeat, of what there is to gain.

    gained: (arms, repeats, V). size: (V,). stratum: (V,) in 0..S-1; the score is the mean over
    strata of sum gained / sum size.
    """

    gained: Numbers
    size: Numbers
    stratum: Ints


def accuracy_gains(chosen: Numbers, truth: Ints) -> Gains:
    """Return the gains whose score is balanced accuracy, the mean over classes of their recall.

    chosen: (arms, repeats, V) classes. truth: (V,), in which each class of 0..K-1 occurs.
    """
    return Gains((chosen == truth).astype(float), np.ones(len(truth)), truth)


def r2_gains(predicted: Numbers, truth: Numbers, baseline: float) -> Gains:
    """Return the gains whose score is R^2 = 1 - sum (y - p)^2 / sum (y - baseline)^2.

    Out of sample (Campbell & Thompson 2008): the baseline is the mean of the training images, so
    that 0 is what predicting it reaches. predicted: (arms, repeats, V). truth: (V,).
    """
    size = (truth - baseline) ** 2
    return Gains(size - (truth - predicted) ** 2, size, np.zeros(len(truth), np.int64))


def error_gains(predicted: Numbers, truth: Numbers) -> Gains:
    """Return the gains whose score is the mean absolute error."""
    errors = np.abs(truth - predicted)
    return Gains(errors, np.ones(len(truth)), np.zeros(len(truth), np.int64))


def sums(values: Numbers, parts: Ints, count: int) -> Numbers:
    """Return the sums of values (..., V) over parts (V,) in 0..count-1: (..., count)."""
    rows = [np.bincount(parts, row, count) for row in values.reshape(-1, len(parts))]
    found: Numbers = np.stack(rows, dtype=np.float64).reshape(*values.shape[:-1], count)
    return found


def scores(gains: Gains) -> Numbers:
    """Return the score of each arm and repeat, (arms, repeats)."""
    gained, size = (sums(v, gains.stratum, int(gains.stratum.max()) + 1) for v in gains[:2])
    found: Numbers = (gained / size).mean(axis=-1)
    return found


class UtilityEstimate(NamedTuple):
    """Scores (arms, repeats); the covariance of their means over repeats (arms, arms), and df.

    cov is None, and there are no intervals, where a class has one patient only.
    """

    scores: Numbers
    cov: Numbers | None
    df: int

    @property
    def mean(self) -> Numbers:
        """Return the mean over repeats, (arms,)."""
        mean: Numbers = self.scores.mean(axis=1)
        return mean

    def interval(self, weights: Numbers) -> Interval | None:
        """Return the 95 % interval of sum_a weights_a mean_a; None without a covariance."""
        if self.cov is None:
            return None
        value = float(weights @ self.mean)
        half = student(self.df) * math.sqrt(weights @ self.cov @ weights)
        return value - half, value + half


def estimate(gains: Gains, groups: Ints) -> UtilityEstimate:
    """Return the scores of arms and how they vary over patients and repeats.

    groups: (V,) in 0..G-1, the patient of each test video. The variance is the jackknife's over
    patients; plus that of a mean over repeats; plus what one more patient of each class who gains
    nothing would move, in each arm by itself. Without the last a handful of patients who are all
    told right would have an interval of no width.
    """
    strata, count = int(gains.stratum.max()) + 1, int(groups.max()) + 1
    gained, size = (
        sums(values, groups * strata + gains.stratum, count * strata).reshape(
            *values.shape[:-1], count, strata
        )
        for values in (gains.gained, gains.size)
    )
    whole = gained.sum(axis=2)
    ratios = whole / size.sum(axis=0)
    found, repeats = ratios.mean(axis=2), ratios.shape[1]
    patients = (size > 0).sum(axis=0)
    if patients.min() < 2:
        return UtilityEstimate(found, None, 0)
    without = ((whole[:, :, None] - gained) / (size.sum(axis=0) - size)).mean(axis=(1, 3))
    moved = without - without.mean(axis=1, keepdims=True)
    cov = (count - 1) / count * moved @ moved.T
    if repeats > 1:
        cov += np.cov(found) / repeats
    one_more = ratios.mean(axis=1) / (patients + 1) / strata
    return UtilityEstimate(found, cov + np.diag((one_more**2).sum(axis=1)), int(patients.min()) - 1)


def student(df: int, level: float = 0.95) -> float:
    """Return the two-sided quantile of Student's t distribution."""
    return float(special.stdtrit(df, (1 + level) / 2))


def fieller(above: Numbers, cov: Numbers, quantile: float) -> Interval | None:
    """Return Fieller's interval of above[0] / above[1], of covariance (2, 2).

    None where above[1] is not surely positive: then any ratio would agree with the data.
    """
    (a, b), q = above, quantile**2
    lead = b * b - q * cov[1, 1]
    if b <= 0 or lead <= 0:
        return None
    middle = a * b - q * cov[0, 1]
    root = math.sqrt(max(middle**2 - lead * (a * a - q * cov[0, 0]), 0.0))
    return float((middle - root) / lead), float((middle + root) / lead)
