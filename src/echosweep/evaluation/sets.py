"""What a metric is given and what it gives: two sides in, numbers with intervals out.

A `Side` is the images of a store that take part, and, for metrics of features, their features.
Invariant: the order is (generated, reference) everywhere, and images of one group (a patient, or a
video where patients are not known) are never treated as independent draws.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from echosweep import rng, runs
from echosweep.data.store import FrameStore, constant
from echosweep.errors import UsageError

Interval = tuple[float, float]
_TOGETHER = 1024  # images read at a time
FEW_GROUPS = 10  # patients below which intervals are too narrow: they held 92 % at 6, 83 % at 3


class Rows(Protocol):
    """Feature vectors (n, D) float32 that may lie on disk: only the rows asked for are read."""

    shape: tuple[int, int]

    def __len__(self) -> int: ...
    def __getitem__(self, chosen: Any) -> NDArray[np.float32]: ...


class Subset:
    """Some rows of others, in any order, read when they are asked for."""

    def __init__(self, rows: Rows, chosen: NDArray[np.int64]) -> None:
        self._rows, self._chosen = rows, chosen
        self.shape = (len(chosen), rows.shape[1])

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, chosen: Any) -> NDArray[np.float32]:
        return self._rows[self._chosen[chosen]]


def shards(rows: Rows, size: int = 4096) -> Iterator[NDArray[np.float32]]:
    """Yield `rows` in their order, at most `size` at a time."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


@dataclass(frozen=True)
class Side:
    """One of the two sets under comparison: `rows` of `store`, ascending, and their features.

    features[i] belongs to image rows[i]; it is empty where a metric looks at images alone. pool:
    the larger set that these images were drawn from, where there is one.
    """

    store: FrameStore
    rows: NDArray[np.int64]
    features: Rows = field(default_factory=lambda: np.empty((0, 0), np.float32))
    pool: "Side | None" = None

    def __len__(self) -> int:
        return len(self.rows)

    def images(self, chosen: Any = slice(None)) -> NDArray[np.uint8]:
        """Return the images of `chosen` positions (a slice or numbers), uint8 (n, H, W[, 3])."""
        images: NDArray[np.uint8] = self.store.images[self.rows[chosen]]
        return images

    def repeated(self) -> tuple[int, int]:
        """Return how many images are constant, and how many are equal to another one before."""
        flat, seen = 0, set[bytes]()
        for start in range(0, len(self), _TOGETHER):
            images = self.images(slice(start, start + _TOGETHER))
            flat += constant(images)
            seen.update(
                hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images
            )
        return flat, len(self) - len(seen)

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """Return the group of each image, (n,) in 0..G-1: its patient, else its video.

        Numbered as they come, so that other images of the store change no draw by group.
        """
        names = [video.patient or f"video {i}" for i, video in enumerate(self.store.videos)]
        videos = np.unique(names, return_inverse=True)[1][self.store.index["video"][self.rows]]
        _, first, found = np.unique(videos, return_index=True, return_inverse=True)
        groups: NDArray[np.int64] = np.argsort(np.argsort(first))[found]
        return groups

    def describe(self) -> dict[str, Any]:
        """Return which images these are, as JSON."""
        return {
            "path": str(self.store.path),
            "content": self.store.content,
            "identity": self.store.identity,
            "fingerprint": self.store.fingerprint,
            "rows": runs.signature(self.rows.tolist()),
            "images": len(self),
            "groups": int(self.groups.max()) + 1,
            "source": self.store.manifest.get("source", {}).get("kind"),
        }


@dataclass(frozen=True)
class Result:
    """What a metric found. values: numbers by name. intervals: 95 % intervals of some of them.

    details: what a report draws (curves, tables), as JSON. notes: what a reader must know.
    """

    values: dict[str, float]
    intervals: dict[str, Interval] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


def draw_rows(
    store: FrameStore, num: int | None, split: str | None = None, seed: int | None = None
) -> NDArray[np.int64]:
    """Return `num` rows of a split, ascending: the first, or with a seed a subset drawn by it.

    num None takes all. Raises UsageError for fewer images than asked.
    """
    rows = store.rows(split)
    num = len(rows) if num is None else num
    if num < 2:
        raise UsageError(f"{store.path}: {num} images have no covariance; at least 2 are needed")
    if num > len(rows):
        where = f" in split {split!r}" if split else ""
        raise UsageError(
            f"--num {num}: {store.path} has only {len(rows)} images{where} to take; ask for at "
            "most that many, or make more"
        )
    if seed is None or num == len(rows):
        return rows[:num]
    draw = np.random.default_rng(rng.derive("evaluate", "reference", seed))
    return np.sort(draw.choice(rows, num, replace=False))


def accept(generated: Side, reference: Side) -> None:
    """Accept any sides: the check of a metric that can measure all of them."""


class Metric(NamedTuple):
    """A row of METRICS: measure(generated, reference, seed), and what it is a measure of.

    of "pool": of features, and the sides have their pool, where there is one. check raises
    UsageError for sides that cannot be measured; it needs no features, so it comes before them.
    """

    measure: Callable[[Side, Side, int], Result]
    of: Literal["features", "pool", "images"]
    check: Callable[[Side, Side], None] = accept
