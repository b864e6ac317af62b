"""Which images a repeat of the shift panel trains on, and which it tests.

A tenth of the patients (videos where patients are not known) of each side is tested, another tenth
by each repeat; a generated image is a group of its own. Invariant: no group is on both sides of a
fold, and a side's part depends on nothing of the other side but the number of images.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from echosweep import rng
from echosweep.errors import UsageError
from echosweep.evaluation.sets import Side

TENTHS = 10

Rows = NDArray[np.int64]


class Part(NamedTuple):
    """What a fold takes of one side: positions of images to train on, and to test on."""

    side: Side
    train: Rows
    test: Rows


class Fold(NamedTuple):
    """The parts of both sides, in the order of every metric."""

    generated: Part
    reference: Part


def deal(groups: Rows, parts: int, seed: int) -> Rows:
    """Return the part (n,) in 0..parts-1 of each image: whole groups, in an order drawn by `seed`.

    Each group goes to the part that has fewest images.
    """
    sizes, counts = np.bincount(groups), np.zeros(parts, np.int64)
    dealt = np.zeros(len(sizes), np.int64)
    for group in np.random.default_rng(rng.derive("shift", "deal", seed)).permutation(len(sizes)):
        dealt[group] = counts.argmin()
        counts[dealt[group]] += sizes[group]
    return dealt[groups]


def count_parts(generated: Side, reference: Side) -> int:
    """Return into how many parts both sides can be cut: TENTHS, or as many as one has groups."""
    return min(TENTHS, *(int(side.groups.max()) + 1 for side in (generated, reference)))


def check_folds(generated: Side, reference: Side, repeats: int) -> None:
    """Raise UsageError for sides that cannot be cut into parts to train and to test on."""
    parts = count_parts(generated, reference)
    if parts < 2:
        raise UsageError(
            f"{reference.store.path}: {len(reference)} images of one patient or video cannot be "
            "both trained and tested on; give images of two patients at least, better of twenty"
        )
    if repeats > parts:
        raise UsageError(
            f"--repeats {repeats}: there are only {parts} parts of patients to test, each once; "
            f"ask for 1 to {parts}"
        )


def make_folds(generated: Side, reference: Side, repeats: int, seed: int) -> list[Fold]:
    """Return the fold of each repeat, with as many images to train on of either side."""
    sides, folds = (generated, reference), []
    dealt = [deal(side.groups, count_parts(generated, reference), seed) for side in sides]
    for repeat in range(repeats):
        draw = np.random.default_rng(rng.derive("shift", "train", repeat, seed))
        orders = [draw.permutation(np.flatnonzero(part != repeat)) for part in dealt]
        most = min(map(len, orders))
        made, real = (
            Part(side, order[:most], np.flatnonzero(part == repeat))
            for side, order, part in zip(sides, orders, dealt, strict=True)
        )
        folds.append(Fold(made, real))
    return folds
