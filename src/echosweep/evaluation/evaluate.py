"""Measure generated images against real ones: two frame stores in, one record out.

The order is (generated, reference) everywhere. Everything cheap that can be wrong is checked
before the first image is read. Invariant: the record holds all that the number depends on:
contents, rows, preparation, network, weights, resize and environment.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from echosweep import rng, runs
from echosweep.data.store import FrameStore, check_comparable
from echosweep.errors import UsageError
from echosweep.evaluation import EXTRACTORS
from echosweep.evaluation.features import Extractor, Options, extract
from echosweep.evaluation.fid import Statistics, frechet_distance, statistics
from echosweep.progress import Progress, silent


def evaluate(
    generated: str | Path,
    reference: str | Path,
    *,
    features: str = "inception",
    inception: str | Path | None = None,
    resize: str = "edm",
    dims: int | None = None,
    num: int | None = None,
    split: str | None = None,
    allow_difference: Sequence[str] = (),
    allow_unknown_weights: bool = False,
    batch: int = 64,
    device: str | None = None,
    cache: str | Path | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Return the Fréchet distance of `generated` from `reference`, and where it came from.

    features: a key of EXTRACTORS. inception, resize, dims: the weights file, the resize mode and
    the feature width of Inception. num: images of each set, the first of the generated and a
    subset of the reference drawn by `seed`; None takes all. split: of the reference.
    allow_difference: what the two preparations may differ in. batch: images a network call.
    cache: a folder for reference statistics.

    The record is JSON: metrics, n_generated, n_reference, features, dims, weights, resize,
    provenance, warnings. Raises UsageError for what was asked for wrongly, EchoSweepError for
    damaged data, both before any feature is computed.
    """
    if features not in EXTRACTORS:
        raise UsageError(f"--features {features!r} is not one of {', '.join(EXTRACTORS)}")
    if features != "inception" and (inception or resize != "edm"):
        raise UsageError(
            f"--inception and --resize belong to --features inception; {features} has its own "
            "weights and resize: leave them out"
        )
    if batch < 1:
        raise UsageError(f"--batch {batch} is not at least 1")
    if seed < 0:
        raise UsageError(f"--seed {seed} is not 0 or more")
    weights = Path(inception) if inception else None
    options = Options(weights, None, resize, dims, allow_unknown_weights, device)
    extractor = EXTRACTORS[features](options)
    made, real = FrameStore.open(generated), FrameStore.open(reference)
    check_comparable(made, real, allow_difference)
    made_rows = _take(made, made.rows(), num, None)
    real_rows = _take(real, real.rows(split), num, seed)
    folder = cache_folder(cache)

    notes = list(extractor.notes)
    shown = _Shown(progress, len(real_rows) + len(made_rows))
    of_real = _cached_statistics(folder, real, real_rows, extractor, batch, shown, notes)
    of_made = statistics(shown.over(extract(made, made_rows, extractor, batch)))
    return {
        "metrics": {extractor.metric: frechet_distance(of_made, of_real)},
        "n_generated": of_made.n,
        "n_reference": of_real.n,
        "features": extractor.name,
        "dims": extractor.dims,
        "weights": extractor.weights,
        "resize": extractor.resize.name,
        "provenance": {
            "generated": _describe(made, made_rows),
            "reference": _describe(real, real_rows) | {"split": split, "seed": seed},
            "extractor": extractor.signature,
            "environment": runs.environment(),
        },
        "warnings": [*notes, *_warnings(made, real, of_made, of_real, extractor)],
    }


def cache_folder(cache: str | Path | None) -> Path:
    """Return the folder for caches: the one given, ECHOSWEEP_CACHE, or ~/.cache/echosweep.

    It is made here: a folder that cannot be written is a UsageError now, not hours later.
    """
    folder = Path(cache or os.environ.get("ECHOSWEEP_CACHE") or "~/.cache/echosweep").expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise UsageError(
            f"cache folder {folder} cannot be written; pass --cache DIR or set ECHOSWEEP_CACHE=DIR"
        )
    return folder


class _Shown:
    """Counts images into a `Progress`."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0
        self.add(0)

    def add(self, images: int) -> None:
        self._done += images
        self._progress(self._done, self._total, self._done)

    def over(self, shards: Iterator[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        for shard in shards:
            yield shard
            self.add(len(shard))


def _take(
    store: FrameStore, rows: NDArray[np.int64], num: int | None, seed: int | None
) -> NDArray[np.int64]:
    """Return `num` of the rows: the first, or with a seed a subset drawn from it, ascending."""
    num = len(rows) if num is None else num
    if num < 2:
        raise UsageError(f"{store.path}: {num} images have no covariance; at least 2 are needed")
    if num > len(rows):
        raise UsageError(
            f"--num {num}: {store.path} has only {len(rows)} images to take; ask for at most that "
            "many, or make more"
        )
    if seed is None:
        return rows[:num]
    order = torch.randperm(len(rows), generator=rng.generator("evaluate", "reference", seed))
    return np.sort(rows[order[:num].numpy()])


def _cached_statistics(
    folder: Path,
    store: FrameStore,
    rows: NDArray[np.int64],
    extractor: Extractor,
    batch: int,
    shown: _Shown,
    notes: list[str],
) -> Statistics:
    """Return the statistics of a store's rows, from the cache or into it, where there is room."""
    key = runs.signature([store.content, _name_rows(rows), extractor.signature], length=32)
    path = folder / f"statistics-{key}.npz"
    found = _load_statistics(path, len(rows), extractor.dims)
    if found is not None:
        shown.add(len(rows))
        return found
    result = statistics(shown.over(extract(store, rows, extractor, batch)))
    try:
        runs.atomic_write(
            path,
            lambda file: np.savez(file, n=result.n, mean=result.mean, scatter=result.scatter),
        )
    except OSError as error:  # hours of work are not lost for want of a cache
        notes.append(f"the statistics of the reference could not be cached ({error})")
    return result


def _load_statistics(path: Path, n: int, dims: int) -> Statistics | None:
    """Return cached statistics, None where there are none that are whole."""
    try:
        with np.load(path, allow_pickle=False) as file:
            result = Statistics(int(file["n"]), file["mean"], file["scatter"])
    except Exception:  # whatever a damaged cache raises, the answer is to compute it again
        return None
    whole = result.n == n and result.mean.shape == (dims,) and result.scatter.shape == (dims, dims)
    finite = np.isfinite(result.mean).all() and np.isfinite(result.scatter).all()
    return result if whole and finite else None


def _name_rows(rows: NDArray[np.int64]) -> str:
    return runs.signature(rows.tolist())


def _describe(store: FrameStore, rows: NDArray[np.int64]) -> dict[str, Any]:
    return {
        "path": str(store.path),
        "content": store.content,
        "fingerprint": store.fingerprint,
        "rows": _name_rows(rows),
    }


def _warnings(
    made: FrameStore, real: FrameStore, of_made: Statistics, of_real: Statistics, by: Extractor
) -> Iterator[str]:
    n = min(of_made.n, of_real.n)
    if n <= by.dims:
        yield (
            f"{n} images for {by.dims} features: the covariance has rank {n - 1} at most, so the "
            f"value is biased upwards; only its order among sets of {n} images counts"
        )
    if of_made.n != of_real.n:
        yield f"the sets differ in size ({of_made.n} and {of_real.n}); the bias depends on both"
    if made.content == real.content:
        yield "both stores hold the same images"
