"""What a metric is given and what it gives: two sides in, numbers with intervals out.

A `Side` is the images of a store that take part, and, for metrics of features, their features.
Invariant: the order is (generated, reference) everywhere, and images of one group (a patient, or a
video where patients are not known) are never treated as independent draws.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from echosweep.data.store import FrameStore

Interval = tuple[float, float]


class Rows(Protocol):
    """Feature vectors (n, D) float32 that may lie on disk: only the rows asked for are read."""

    shape: tuple[int, int]

    def __len__(self) -> int: ...
    def __getitem__(self, chosen: Any) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class Side:
    """One of the two sets under comparison: `rows` of `store`, ascending, and their features.

    features[i] belongs to image rows[i]; None where a metric looks at images alone.
    """

    store: FrameStore
    rows: NDArray[np.int64]
    features: Rows | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def images(self, chosen: Any = slice(None)) -> NDArray[np.uint8]:
        """Return the images of `chosen` positions (a slice or numbers), uint8 (n, H, W[, 3])."""
        images: NDArray[np.uint8] = self.store.images[self.rows[chosen]]
        return images

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """Return the group of each image, (n,) in 0..G-1: its patient, else its video."""
        names = [video.patient or f"video {i}" for i, video in enumerate(self.store.videos)]
        videos = np.unique(names, return_inverse=True)[1][self.store.index["video"][self.rows]]
        groups: NDArray[np.int64] = np.unique(videos, return_inverse=True)[1]
        return groups


@dataclass(frozen=True)
class Result:
    """What a metric found. values: numbers by name. intervals: 95 % intervals of some of them.

    details: what a report draws (curves, tables), as JSON. notes: what a reader must know.
    """

    values: dict[str, float]
    intervals: dict[str, Interval] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


class Metric(NamedTuple):
    """A row of METRICS: measure(generated, reference, seed), and what it is a measure of."""

    measure: Callable[[Side, Side, int], Result]
    of: Literal["features", "images"]
