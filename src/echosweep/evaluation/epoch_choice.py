"""Which epoch is best, and how good is it: chosen on one half, reported on the other.

The least of many noisy distances is low partly by luck, so the number that chose is no measure of
what was chosen (Cawley & Talbot 2010). Each half of a split chooses once and reports once: what
the halves differ by cancels. Invariant: no patient and no seed is in both halves of a split, and
every distance is of the same number of images.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from echosweep import rng, runs
from echosweep.evaluation.floor import halve, spread
from echosweep.evaluation.frechet import Z95
from echosweep.evaluation.noise import to_fixed
from echosweep.evaluation.sets import Rows, Side, Subset

Floats = NDArray[np.float64]


class Half(NamedTuple):
    """Positions of the images that are compared in a half of a split: as many of both sides."""

    made: NDArray[np.int64]
    real: NDArray[np.int64]


@dataclass(frozen=True)
class Splits:
    """The reference, with features, and the seeded ways to halve it and the generated images."""

    reference: Side
    halves: list[tuple[Half, Half]]

    @cached_property
    def _to_real(self) -> list[list[Callable[[Rows], float]]]:
        real = self.reference.features
        return [[to_fixed(Subset(real, half.real)) for half in pair] for pair in self.halves]

    @cached_property
    def signature(self) -> str:
        """Return 16 hex digits of which images, whose, and how they are halved."""
        halves = [positions for pair in self.halves for half in pair for positions in half]
        parts = [
            hashlib.sha256(part.tobytes()).hexdigest() for part in (self.reference.rows, *halves)
        ]
        return runs.signature([self.reference.store.identity, *parts])

    def distances(self, made: Rows) -> Floats:
        """Return the Fréchet distances of `made` to the reference in each half, (splits, 2)."""
        return np.array(
            [
                [to(Subset(made, half.made)) for to, half in zip(tos, pair, strict=True)]
                for tos, pair in zip(self._to_real, self.halves, strict=True)
            ]
        )

    def floor(self) -> Floats:
        """Return the distance between the real halves of each split, (splits,)."""
        real = self.reference.features
        ends = zip(self._to_real, self.halves, strict=True)
        return np.array([tos[0](Subset(real, pair[1].real)) for tos, pair in ends])


def draw_halves(
    reference: Side, by: str, num: int, splits: int, seed: int
) -> list[tuple[Half, Half]]:
    """Return `splits` ways to halve the reference, and with it the `num` generated images.

    by: "video" (patients, where they are known) or "frame". num: even, and at most twice the
    images of every half. All sets of generated images are halved alike: by their seeds.
    """
    n, found = num // 2, []
    for i in range(splits):
        order = np.random.default_rng(rng.derive("choose-epoch", seed + i)).permutation(num)
        one, other = halve(reference, by, seed + i)
        found.append((Half(order[:n], one[:n]), Half(order[n:], other[:n])))
    return found


class ChoiceEstimate(NamedTuple):
    """A mean over halves and its standard error, of drawing other patients and seeds."""

    mean: float
    error: float

    @property
    def interval(self) -> list[float]:
        """Return the 95 % interval."""
        return [self.mean - Z95 * self.error, self.mean + Z95 * self.error]


def estimate(values: Floats) -> ChoiceEstimate:
    """Return the mean of values (splits, 2) of both halves, and its standard error.

    Half the difference between two halves varies as the mean of both does (McCarthy 1969,
    "Pseudo-replication: half samples"): the error is its root mean square over the splits. The
    spread of the splits' means would not do, for all splits are of the same patients.
    """
    error = np.sqrt(np.mean(((values[:, 0] - values[:, 1]) / 2) ** 2))
    return ChoiceEstimate(float(values.mean()), float(error))


@dataclass(frozen=True)
class Choice:
    """What was chosen, and what it is worth.

    numbers: of the epochs. distances: (epochs, splits, 2). unguided: (splits, 2), of the control.
    [..., h] is of half h.
    """

    numbers: Sequence[int]
    distances: Floats
    unguided: Floats

    @cached_property
    def epoch(self) -> int:
        """Return the number of the epoch with the least mean over all halves."""
        # Exact sums: rounded ones would let the order of the halves break a tie.
        sums = [math.fsum(values.ravel()) for values in self.distances]
        return self.numbers[sums.index(min(sums))]

    @cached_property
    def picked(self) -> NDArray[np.int64]:
        """Return the number of the epoch that each half would choose, (splits, 2)."""
        return np.asarray(self.numbers)[self._positions]

    @cached_property
    def _positions(self) -> NDArray[np.int64]:
        positions: NDArray[np.int64] = self.distances.argmin(axis=0)
        return positions

    @cached_property
    def same(self) -> Floats:
        """Return the distance that each half would report of its own choice, (splits, 2)."""
        same: Floats = self.distances.min(axis=0)
        return same

    @cached_property
    def other(self) -> Floats:
        """Return the distance of each half's choice on the other half, (splits, 2): honest."""
        reports = self.distances[:, :, ::-1]
        other: Floats = np.take_along_axis(reports, self._positions[None], axis=0)[0]
        return other

    @property
    def leak(self) -> Floats:
        """Return by how much choosing and reporting on one half flatters, (splits,).

        The mean over both directions of other - same. It is never negative: in each half the
        choice of the other is measured against the best.
        """
        leak: Floats = (self.other - self.same).mean(axis=1)
        return leak

    @property
    def difference(self) -> Floats:
        """Return other - unguided, on the same half, (splits, 2): negative where guidance helps."""
        difference: Floats = self.other - self.unguided[:, ::-1]
        return difference

    def record(self) -> dict[str, Any]:
        """Return the choice, the control and each epoch as JSON; in details, every half's."""
        reported, control, apart = map(estimate, (self.other, self.unguided, self.difference))
        each = [
            {
                "epoch": number,
                **estimate(values)._asdict(),
                "chosen": int((self.picked == number).sum()),
            }
            for number, values in zip(self.numbers, self.distances, strict=True)
        ]
        return {
            "choice": {
                "epoch": self.epoch,
                "reported": reported._asdict(),
                "same_half": float(self.same.mean()),
                "leak": {"mean": float(self.leak.mean()), "std": spread(self.leak.tolist())},
            },
            "unguided": control._asdict(),
            "difference": apart._asdict() | {"interval": apart.interval},
            "epochs": each,
            "details": {
                "picked": self.picked.tolist(),
                "on_same_half": self.same.tolist(),
                "on_other_half": self.other.tolist(),
                "epochs": self.distances.tolist(),
                "unguided": self.unguided.tolist(),
            },
        }
