"""Averages of the weights of any length, made after training (Karras et al. 2024, section 3).

In a power-function average at t the weights at tau <= t count by (gamma+1) tau^gamma / t^(gamma+1),
its profile, so its length is a share of the training so far. Two of them are stored on the way; the
profile of any other is nearly a sum of theirs, and so is that average.
Invariant: the factors of a sum add up to 1, so a weight that never moved stays where it is.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from math import sqrt
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import safe_open
from torch import Tensor

LENGTHS = (0.05, 0.1)
STORED = 20  # times in a run
LONGEST = 0.25


class Profile(NamedTuple):
    """What a power-function average weighs by: its length at `nimg` images, in (0, 0.25]."""

    nimg: float
    length: float


class Mix(NamedTuple):
    """How to add up averages: a factor for each, and |sum of profiles - wanted| / |wanted|."""

    factors: list[float]
    error: float


@cache
def power(length: float) -> float:
    """Return gamma of a relative length, sigma_rel^2 = (gamma+1) / ((gamma+2)^2 (gamma+3)).

    The length is the standard deviation of the profile over t. Of the roots the largest is meant.
    """
    per_variance = length**-2
    roots = np.roots([1, 7, 16 - per_variance, 12 - per_variance])
    return float(roots.real.max())


def power_beta(nimg: int, batch: int, length: float) -> float:
    """Return beta = (1 - batch / nimg)^(gamma + 1): what a step leaves of the average before it.

    nimg: images seen after the step, so the first step leaves nothing of the untrained weights.
    Then the average is exactly the integral of p over weights that are constant within a step.
    """
    return float((1 - batch / nimg) ** (power(length) + 1))


def overlap(one: Profile, other: Profile) -> float:
    """Return the inner product of two profiles, the integral of p q over tau, per image."""
    (s, a), (t, b) = (one.nimg, power(one.length)), (other.nimg, power(other.length))
    end = min(s, t)
    decay = float((end / s) ** a * (end / t) ** b)
    return (a + 1) * (b + 1) / (a + b + 1) * decay * end / (s * t)


def mix(stored: Sequence[Profile], wanted: Profile) -> Mix:
    """Return the factors x that minimise |sum_i x_i p_i - p|^2 where sum_i x_i = 1.

    With A_ij = <p_i, p_j> and b_i = <p_i, p>: A x + mu = b, by Lagrange's multiplier mu.
    """
    scale = overlap(wanted, wanted)
    a = np.array([[overlap(p, q) for q in stored] for p in stored]) / scale
    b = np.array([overlap(p, wanted) for p in stored]) / scale
    ones = np.ones((len(b), 1))
    bordered = np.block([[a, ones], [ones.T, np.zeros((1, 1))]])
    # Not `solve`: profiles of points close together are nearly the same one.
    x = np.linalg.lstsq(bordered, np.append(b, 1), rcond=None)[0][:-1]
    return Mix(x.tolist(), sqrt(max(0.0, float(1 - 2 * x @ b + x @ a @ x))))


def combine(files: Iterable[Path], factors: Iterable[float]) -> dict[str, Tensor]:
    """Return the sum of stored averages, in float32, added up in float64.

    files: safetensors of `TrainState.track_tensors`, read a tensor at a time. factors: for each of
    them those of `LENGTHS` in turn.
    """
    total: dict[str, Tensor] = {}
    remaining = iter(factors)
    for file in files:
        for length in LENGTHS:
            factor = next(remaining)
            for name, tensor in _track(file, length):
                part = factor * tensor.double()
                total[name] = total[name].add_(part) if name in total else part
    return {name: total.pop(name).float() for name in list(total)}


def _track(file: Path, length: float) -> Iterator[tuple[str, Tensor]]:
    prefix = track_name(length, "")
    with safe_open(file, "pt") as opened:
        for key in filter(lambda key: key.startswith(prefix), opened.keys()):
            yield key.removeprefix(prefix), opened.get_tensor(key)


def track_name(length: float, name: str) -> str:
    """Return the name under which a tensor of the average of a length of `LENGTHS` is saved."""
    return f"ema{length}.{name}"


def track_path(run: Path, nimg: int) -> Path:
    """Return where a run keeps the averages at `nimg` images, without a suffix."""
    return run / "ema" / f"{nimg:012d}"


def stored_without_facts(run: Path) -> Path | None:
    """Return a file of averages that lacks its JSON, as of a run that was killed; None if whole."""
    files = sorted((run / "ema").glob("[0-9]" * 12 + ".safetensors"))
    return next((path for path in files if not path.with_suffix(".json").exists()), None)


def stored_tracks(run: Path) -> list[int]:
    """Return at how many images a run stored its averages, in order."""
    return sorted(int(path.stem) for path in (run / "ema").glob("[0-9]" * 12 + ".json"))
