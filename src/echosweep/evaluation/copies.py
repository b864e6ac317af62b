"""Which generated images are copies of training images?

Each image is scored against the training set in pixels and in features (`copies_match`); held-out
images, which no training saw, are scored alike and say how low scores fall without copying. The
smaller of the two ranks is ranked among theirs once more: the p-value. Invariant: generated and
held-out images go through the same steps, so a flag at p <= rate is a stated rate of false alarms.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echosweep.data.store import check_comparable
from echosweep.errors import UsageError
from echosweep.evaluation.copies_match import Matches, match, thumbnails
from echosweep.evaluation.copies_statistics import CellTest, auth_pct, c_t
from echosweep.evaluation.prdc import group_interval
from echosweep.evaluation.sets import Interval, Side
from echosweep.progress import Progress, silent

_FOLDS = 20  # of held-out groups, to check the rate of false alarms
_HASHED = 4096  # images a read
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class CopyReport:
    """What was found: arrays have one row a generated image, in the order of its side.

    p_values: the share of held-out images that look as much like a copy. flagged: p <= rate.
    nearest: the row in the training store it may be a copy of. by_pixels: whether pixels, rather
    than features, told. identical: equal to a training image in every pixel. false_alarms: the
    share of held-out images flagged when their groups take no part in the calibration, with its
    95 % interval (None for one group). auth_pct, auth_pct_groups, c_t: see `copies_statistics`.
    """

    rate: float
    p_values: Numbers
    flagged: NDArray[np.bool_]
    nearest: NDArray[np.int64]
    by_pixels: NDArray[np.bool_]
    identical: NDArray[np.bool_]
    matches: Matches
    false_alarms: float
    false_alarm_interval: Interval | None
    auth_pct: float
    auth_pct_groups: float
    c_t: CellTest
    n_train: int
    n_held_out: int
    held_out_groups: int
    notes: tuple[str, ...]

    def worst(self, count: int) -> NDArray[np.int64]:
        """Return the positions of the `count` images most like a copy, worst first."""
        order = np.lexsort((self.matches.pixel_scores, self.p_values, ~self.identical))
        return order[:count]

    def record(self) -> dict[str, Any]:
        """Return the findings as JSON: numbers, and a row for each flagged image."""
        return {
            "rate": self.rate,
            "flagged": int(self.flagged.sum()),
            "flagged_share": float(self.flagged.mean()),
            "identical": int(self.identical.sum()),
            "false_alarms": self.false_alarms,
            "false_alarm_interval": self.false_alarm_interval and list(self.false_alarm_interval),
            "auth_pct": self.auth_pct,
            "auth_pct_groups": self.auth_pct_groups,
            "c_t": self.c_t.value,
            "c_t_cells": self.c_t.cells,
            "n_generated": len(self.flagged),
            "n_train": self.n_train,
            "n_held_out": self.n_held_out,
            "held_out_groups": self.held_out_groups,
            "images": [self._row(i) for i in self.worst(int(self.flagged.sum())).tolist()],
            "notes": list(self.notes),
        }

    def _row(self, i: int) -> dict[str, Any]:
        return {
            "position": i,
            "train_row": int(self.nearest[i]),
            "by": "pixels" if self.by_pixels[i] else "features",
            "p": float(self.p_values[i]),
            "identical": bool(self.identical[i]),
            "pixel_distance": float(self.matches.pixel_distances[i]),
            "pixel_score": float(self.matches.pixel_scores[i]),
            "shift": self.matches.shifts[i].tolist(),
            "feature_distance": float(self.matches.feature_distances[i]),
            "feature_score": float(self.matches.feature_scores[i]),
        }


def find_copies(
    generated: Side,
    train: Side,
    held_out: Side,
    *,
    rate: float = 0.01,
    memory: int = 2**30,
    seed: int = 0,
    progress: Progress = silent,
) -> CopyReport:
    """Return which generated images are copies of training images, and how sure that is.

    All sides have features. rate: the share of images flagged that are no copies, calibrated on
    `held_out`: real images made like the training set's, of other patients. memory: bytes for
    blocks, beside 1 kB a training image. seed: of the cells of C_T and of the interval. Identical
    images are always flagged. Found: noise, gain, offset, shifts of up to 1/16 of the size. Not
    sought: flips, rotations, scalings, parts. Raises UsageError for sides made differently,
    without features, that share a patient or video, a training set of one group, or too few
    held-out images for `rate`.
    """
    check_copies(generated, train, held_out, rate)
    for side in (generated, train, held_out):
        if not len(side.features):
            raise UsageError(f"{side.store.path}: this side has no features; give all three some")
    twins = _hashes(train)
    thumbs = thumbnails(train)
    shown = _Shown(progress, len(held_out) + len(generated))
    of_held = match(held_out, train, thumbs, memory, shown)
    shown.done += len(held_out)
    matches = match(generated, train, thumbs, memory, shown)
    scores, held = _scores(matches), _scores(of_held)
    ranks = _ranks(scores, held)
    identical = _are_in(generated, twins)
    p_values = find_p_values(scores, held)
    alarms = _false_alarms(held, held_out.groups, rate)
    by_pixels = identical | (ranks[:, 0] <= ranks[:, 1])
    return CopyReport(
        rate=rate,
        p_values=p_values,
        flagged=identical | (p_values <= rate),
        nearest=train.rows[np.where(by_pixels, matches.pixel_rows, matches.feature_rows)],
        by_pixels=by_pixels,
        identical=identical,
        matches=matches,
        false_alarms=float(alarms.mean()),
        false_alarm_interval=_alarm_interval(alarms, held_out.groups, seed),
        auth_pct=auth_pct(generated.features, train.features, memory=memory),
        auth_pct_groups=auth_pct(generated.features, train.features, train.groups, memory),
        c_t=c_t(generated.features, train.features, held_out.features, seed, memory),
        n_train=len(train),
        n_held_out=len(held_out),
        held_out_groups=int(held_out.groups.max()) + 1,
        notes=tuple(_notes(held_out, rate, int(_are_in(held_out, twins).sum()))),
    )


def _scores(matches: Matches) -> Numbers:
    return np.stack([matches.pixel_scores, matches.feature_scores], 1)


def _ranks(scores: Numbers, held: Numbers) -> Numbers:
    """Return (n, 2): the share of held-out scores, and itself, that are as low or lower."""
    below = [np.searchsorted(np.sort(h), s, "right") for s, h in zip(scores.T, held.T, strict=True)]
    ranks: Numbers = (1 + np.stack(below, 1)) / (len(held) + 1)
    return ranks


def find_p_values(scores: Numbers, held: Numbers) -> Numbers:
    """Return the p-values (n,) of scores (n, 2), given those of held-out images (m, 2).

    The smaller rank of two is small too often; so it is ranked among the held-out images' own,
    each of which is left out of its own calibration.
    """
    smaller = _ranks(scores, held).min(1)
    own = (_ranks(held, held) * (len(held) + 1) - 1).min(1) / len(held)
    p_values: Numbers = (1 + np.searchsorted(np.sort(own), smaller, "right")) / (len(held) + 1)
    return p_values


def _false_alarms(held: Numbers, groups: NDArray[np.int64], rate: float) -> NDArray[np.bool_]:
    """Return which held-out images are flagged by thresholds of the other groups, (m,)."""
    alarms = np.zeros(len(held), bool)
    folds = groups % _FOLDS
    for fold in np.unique(folds):
        here = folds == fold
        if not here.all():
            alarms[here] = find_p_values(held[here], held[~here]) <= rate
    return alarms


def _alarm_interval(
    alarms: NDArray[np.bool_], groups: NDArray[np.int64], seed: int
) -> Interval | None:
    """Return the 95 % interval of the share of alarms, None for one group."""
    interval = group_interval(alarms.astype(float), groups, seed)
    if interval is None or alarms.any():
        return interval
    # Resampling none gives none; G groups without an alarm leave 1 - 0.05^(1/G) open.
    return 0.0, float(1 - 0.05 ** (1 / len(np.unique(groups))))


def check_copies(generated: Side, train: Side, held_out: Side, rate: float) -> None:
    """Raise UsageError for sides that cannot be searched; they need no features yet."""
    if not 0 < rate < 1:
        raise UsageError(f"rate {rate} is not between 0 and 1; 0.01 flags 1 % of innocent images")
    check_comparable(generated.store, train.store)
    check_comparable(held_out.store, train.store)
    shared = sorted(_names(train) & _names(held_out))
    if shared:
        raise UsageError(
            f"{len(shared)} patients or videos are in the training and the held-out set "
            f"({', '.join(shared[:3])}), so held-out images look like copies too; split by patient "
            "(`echosweep prepare` does, with --patient-regex) and take train and test"
        )
    if train.groups.max() == 0:
        raise UsageError(
            f"{train.store.path}: the training images are of one patient or video, so nothing says "
            "how near others would be; give images of at least two"
        )
    if len(held_out) + 1 < 1 / rate:
        raise UsageError(
            f"{len(held_out)} held-out images cannot show a rate of {rate:g}; give at least "
            f"{int(np.ceil(1 / rate))}, or ask for a rate of {1 / (len(held_out) + 1):.2g} or more"
        )


def _names(side: Side) -> set[str]:
    videos = [
        side.store.videos[number] for number in np.unique(side.store.index["video"][side.rows])
    ]
    return {f"patient {v.patient}" if v.patient else f"video {v.name}" for v in videos}


def _hashes(side: Side) -> set[int]:
    return set(_each_hash(side))


def _are_in(side: Side, hashes: set[int]) -> NDArray[np.bool_]:
    return np.fromiter((each in hashes for each in _each_hash(side)), bool, len(side))


def _each_hash(side: Side) -> Iterator[int]:
    """Yield a 64-bit hash of each image's bytes: equal for equal images within this process."""
    for start in range(0, len(side), _HASHED):
        yield from (hash(image.tobytes()) for image in side.images(slice(start, start + _HASHED)))


def _notes(held_out: Side, rate: float, twins: int) -> Iterator[str]:
    groups = int(held_out.groups.max()) + 1
    if groups < 1 / rate:
        yield (
            f"the held-out images are of {groups} patients or videos; a rate of {rate:g} needs "
            f"{int(np.ceil(1 / rate))} or more to be sure, so read false_alarms and its interval"
        )
    if twins:
        yield (
            f"{twins} held-out images equal a training image in every pixel: one recording under "
            "two names, or blank images; remove them and calibrate again"
        )
    yield "flips, rotations, scalings and copies of parts are not sought"


class _Shown:
    """Counts both searches into one `Progress`."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self.done = progress, total, 0

    def __call__(self, done: int, total: int, units: float | None = None) -> None:
        self._progress(self.done + done, self._total, self.done + done)
