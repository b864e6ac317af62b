"""The noise of the Fréchet distance, by redrawing the images (Reynaud & Kainz 2023, section 4).

First the generated images stay and the real subset is redrawn REPEATS times, then the real ones
stay and the generated are (4.02 +- 0.045 and 4.05 +- 0.001 there). Invariant: a redraw never holds
an image twice; where redraws must overlap, the record says by how much.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from echosweep import rng
from echosweep.evaluation.fid import distance_of, frechet_distance, statistics
from echosweep.evaluation.floor import spread
from echosweep.evaluation.sets import Result, Rows, Side, Subset, shards

REPEATS = 10


def measure_noise(generated: Side, reference: Side, seed: int) -> Result:
    """Return mean and standard deviation of the distance under redrawing of either side.

    A side is redrawn from its pool, the images that it was drawn from; where it holds nearly all of
    them, halves of the pool are drawn. Generated images are cut into disjoint sets where there are
    REPEATS times as many: that is what generating anew would give.
    """
    values, details, notes = {}, {}, []
    for name, side, other in (("real", reference, generated), ("generated", generated, reference)):
        pool = side.pool or side
        n = min(len(side), len(pool) // 2)
        if n < 2:
            notes.append(f"{len(pool)} {name} images are too few to be redrawn; 4 are the least")
            continue
        distance, key = to_fixed(other.features), rng.derive("noise", name, seed)
        found = [distance(Subset(pool.features, draw)) for draw in _draws(len(pool), n, key)]
        values[f"fd_{name}_redrawn_mean"] = float(np.mean(found))
        values[f"fd_{name}_redrawn_std"] = spread(found)
        details[name] = {
            "values": found,
            "n": n,
            "pool": len(pool),
            "disjoint": _disjoint(len(pool), n),
        }
    return Result(values, details=details, notes=notes)


def to_fixed(fixed: Rows) -> Callable[[Rows], float]:
    """Return the distance to `fixed` as a function; what it needs of `fixed` is computed once."""
    if len(fixed) <= fixed.shape[1]:
        return lambda rows: distance_of(rows, fixed)
    known = statistics(shards(fixed))
    return lambda rows: frechet_distance(statistics(shards(rows)), known)


def _disjoint(pool: int, n: int) -> bool:
    return pool >= n * REPEATS


def _draws(pool: int, n: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Yield REPEATS sets of n of `pool`: disjoint where there are enough, else each drawn anew."""
    draw = np.random.default_rng(seed)
    order = draw.permutation(pool)
    for i in range(REPEATS):
        start = i * n if _disjoint(pool, n) else 0
        yield np.sort(order[start : start + n])
        order = order if _disjoint(pool, n) else draw.permutation(pool)
