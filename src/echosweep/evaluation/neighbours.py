"""Exact nearest neighbours (Euclidean) of vectors or images, in bounded memory.

Blocks of |x|^2 + |y|^2 - 2 x.y choose candidates in float32, centred on a common mean so that the
differences are not of large numbers; the candidates' distances are then summed in float64.
Invariant: a distance is the float64 sum of squared differences itself, so equal rows are at
exactly 0; where float32 cannot tell who is nearest, float64 blocks do.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from echosweep.errors import UsageError
from echosweep.progress import Progress, silent

Vectors = Any  # (N, ...) array, memory map or `Rows`: `v[a:b]` and `v[numbers]` are read as rows
Groups = NDArray[np.int64]
_SPARE = 8  # candidates beyond k
_CACHE = 2**23  # bytes that stay near the processor: ten times as fast as larger blocks
_OPEN_ARRAYS = 6  # of a block's two inputs or its distances that are alive at once


class Neighbours(NamedTuple):
    """distances (N, k) float64, ascending, and the base's rows (N, k) they lead to."""

    distances: NDArray[np.float64]
    rows: NDArray[np.int64]


def nearest(
    queries: Vectors,
    base: Vectors,
    k: int = 1,
    *,
    apart: tuple[Groups, Groups] | None = None,
    memory: int = 2**30,
    progress: Progress = silent,
) -> Neighbours:
    """Return the `k` rows of `base` nearest to each of `queries`, nearest first.

    queries (N, ...), base (M, ...): float vectors or uint8 images, flattened, read by blocks.
    apart: groups (N,) and (M,); a row of a query's own group is no neighbour of it. memory: bytes
    to work with, beside inputs that are in memory already. Of equally near rows any is returned;
    a query with fewer than `k` neighbours ends in distance inf, row -1. Raises UsageError where
    the sizes of a row differ, k > M, or `memory` cannot hold a block.
    """
    width = _width(queries)
    if width != _width(base):
        raise UsageError(f"rows of {width} and {_width(base)} numbers have no distance")
    if not 1 <= k <= len(base):
        raise UsageError(f"k = {k} neighbours of {len(base)} rows; choose 1 to {len(base)}")
    search = _Search(queries, base, apart, memory, progress)
    found, sure = search.run(np.arange(len(queries)), k, torch.float32)
    unsure = np.flatnonzero(~sure)
    if len(unsure):
        again, _ = search.run(unsure, k, torch.float64)
        found.distances[unsure], found.rows[unsure] = again
    return found


def block_rows(width: int, memory: int, item: int = 4) -> int:
    """Return how many rows of `width` numbers a block of each side may have within `memory` bytes.

    A block of n has n * width numbers a side and n * n distances.
    """
    room = memory / (item * _OPEN_ARRAYS)
    rows = int((math.sqrt(width * width + 4 * room) - width) / 2)
    if rows < 1:
        least = item * _OPEN_ARRAYS * (width + 1)
        raise UsageError(f"memory = {memory} bytes holds no row of {width}; give at least {least}")
    return rows


def blocks(chosen: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """Yield the row numbers `chosen`, `size` at a time."""
    for start in range(0, len(chosen), size):
        yield chosen[start : start + size]


def read(vectors: Vectors, rows: NDArray[np.int64], dtype: torch.dtype = torch.float64) -> Tensor:
    """Return rows of `vectors`, flattened to (n, width), at least as precise as `dtype`."""
    if len(rows) and (np.diff(rows) == 1).all():
        part = np.asarray(vectors[int(rows[0]) : int(rows[-1]) + 1])  # a slice is read faster
    else:
        part = np.asarray(vectors[rows])
    x = torch.tensor(np.ascontiguousarray(part.reshape(len(part), -1)))
    return x.to(torch.promote_types(x.dtype, dtype))


def squared(x: Tensor, y: Tensor) -> Tensor:
    """Return the squared distances (n, m) of x (n, D) and y (m, D) by one matrix product."""
    return torch.addmm((y * y).sum(1), x, y.T, alpha=-2).add_((x * x).sum(1)[:, None])


class _Search:
    """What stays the same while blocks go by."""

    def __init__(
        self,
        queries: Vectors,
        base: Vectors,
        apart: tuple[Groups, Groups] | None,
        memory: int,
        progress: Progress,
    ) -> None:
        self.queries, self.base, self.memory, self.progress = queries, base, memory, progress
        self.apart = apart and (torch.from_numpy(apart[0]), torch.from_numpy(apart[1]))
        size = block_rows(_width(base), memory, 8)
        every = np.linspace(0, len(base) - 1, min(size, len(base), 1024)).astype(np.int64)
        self.centre = read(base, every).mean(0)

    def run(
        self, chosen: NDArray[np.int64], k: int, dtype: torch.dtype
    ) -> tuple[Neighbours, NDArray[np.bool_]]:
        """Return the neighbours of the queries `chosen`, and of which of them we are sure."""
        size = block_rows(_width(self.base), self.memory, dtype.itemsize)
        even = -(-len(chosen) // -(-len(chosen) // size))  # a short last block costs a whole pass
        found = Neighbours(np.empty((len(chosen), k)), np.empty((len(chosen), k), np.int64))
        sure = np.empty(len(chosen), bool)
        self.progress(0, len(chosen))
        done = 0
        for part in blocks(chosen, even):
            here = slice(done, done + len(part))
            candidates, beyond = self._candidates(part, k, dtype, size)
            found.distances[here], found.rows[here] = self._settle(part, candidates, k)
            sure[here] = found.distances[here, -1] ** 2 <= beyond
            done += len(part)
            self.progress(done, len(chosen))
        return found, sure

    def _candidates(
        self, part: NDArray[np.int64], k: int, dtype: torch.dtype, size: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return rows (n, <= k + spare) and a bound below the squared distance of all others."""
        count = min(k + _SPARE, len(self.base))
        x = self._centred(self.queries, part, dtype)
        best = torch.full((len(part), count), torch.inf, dtype=dtype)
        rows = torch.full((len(part), count), -1, dtype=torch.int64)
        longest = torch.zeros((), dtype=dtype)
        for base_part in blocks(np.arange(len(self.base)), size):
            y = self._centred(self.base, base_part, dtype)
            longest = torch.maximum(longest, y.norm(dim=1).max())
            distances = squared(x, y)
            if self.apart:
                own, other = self.apart[0][part], self.apart[1][base_part]
                distances.masked_fill_(own[:, None] == other, torch.inf)
            near, at = distances.topk(min(count, len(base_part)), largest=False)
            best, order = torch.cat([best, near], 1).topk(count, largest=False)
            rows = torch.cat([rows, at + int(base_part[0])], 1).gather(1, order)
        rows[best.isinf()] = -1
        if count == len(self.base):
            return rows.numpy(), np.full(len(part), np.inf)
        # Rounding of a sum of D products grows like sqrt(D) of its largest terms.
        scale = (x.norm(dim=1) + longest) ** 2
        slack = torch.finfo(dtype).eps * math.sqrt(_width(self.base)) * scale
        return rows.numpy(), (best[:, -1] - slack).double().numpy()

    def _centred(self, vectors: Vectors, rows: NDArray[np.int64], dtype: torch.dtype) -> Tensor:
        x = read(vectors, rows, dtype)
        return x.sub_(self.centre.to(x.dtype)).to(dtype)

    def _settle(
        self, part: NDArray[np.int64], candidates: NDArray[np.int64], k: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the `k` nearest of each query's candidates by exact distances."""
        exact = pair_distances(self.queries, self.base, part, candidates, self.memory)
        order = np.argsort(exact, axis=1, kind="stable")[:, :k]
        return (
            np.take_along_axis(exact, order, 1),
            np.take_along_axis(candidates, order, 1),
        )


def pair_distances(
    queries: Vectors,
    base: Vectors,
    of: NDArray[np.int64],
    to: NDArray[np.int64],
    memory: int = 2**30,
) -> NDArray[np.float64]:
    """Return the distances (n, m) of queries `of` (n,) and base rows `to` (n, m); inf where -1.

    The sum runs over float64 differences, in one order for all pairs: equal pairs, equal bits.
    """
    exact = np.full(to.shape, np.inf)
    room = min(memory, _CACHE)
    size = max(1, room // (8 * 4 * _width(base) * max(1, to.shape[1])))
    for start in range(0, len(of), size):
        here = slice(start, start + size)
        unique, where = np.unique(to[here], return_inverse=True)
        there = read(base, np.maximum(unique, 0)).numpy()[where.reshape(to[here].shape)]
        difference = there - read(queries, of[here]).numpy()[:, None]
        # NumPy sums each row alone; PyTorch's order of summing depends on the shape and threads.
        exact[here] = np.sqrt(np.square(difference, out=difference).sum(-1))
    exact[to < 0] = np.inf
    return exact


def _width(vectors: Vectors) -> int:
    return math.prod(vectors.shape[1:])
