"""Features on disk: computed once for every image and extractor, by whoever needs them first.

A folder a (store content, extractor) holds two plain files, row i being image i: the features
(float32) and a CRC-32 each, 0 where there is none yet. So any subset can be asked for, an
interrupted call continues, and processes fill in disjoint rows. Invariant: a row counts only if its
CRC agrees, so torn writes and damaged files are computed again, never used.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echosweep import places, runs
from echosweep.data.store import FrameStore
from echosweep.distributed import World, barrier
from echosweep.errors import UsageError
from echosweep.evaluation.features import Extractor, extract
from echosweep.progress import Progress, silent

_FILES = ("features.f32", "checks.u32")
_BLOCK = 64  # rows that one process takes at a time
_READ = 4096  # rows read at a time


class CachedFeatures:
    """Features of some rows of a store, float32 (n, D); read from disk when asked for.

    The file is mapped only while rows are copied out of it: memory stays free of it.
    """

    def __init__(self, folder: Path, rows: NDArray[np.int64], dims: int) -> None:
        self._path, self._rows = folder / _FILES[0], rows
        self.shape = (len(rows), dims)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, chosen: Any) -> NDArray[np.float32]:
        wanted = self._rows[chosen]
        if not wanted.size:
            return np.empty((0, self.shape[1]), np.float32)
        shape = (int(wanted.max()) + 1, self.shape[1])
        return np.array(np.memmap(self._path, np.float32, "r", shape=shape)[wanted])


def cached_features(
    store: FrameStore,
    rows: NDArray[np.int64],
    extractor: Extractor,
    cache: Path,
    world: World,
    progress: Progress = silent,
) -> CachedFeatures:
    """Return the features of a store's `rows`; compute those that `cache` lacks, all together.

    Raises UsageError if they do not fit on the disk, EchoSweepError for features that are not
    finite. Every process of `world` must call this, and gets all of them.
    """
    key = runs.signature([store.content, extractor.signature], length=32)
    folder = cache / f"features-{key}"
    _make(folder)
    missing = rows[~_valid(folder, rows, extractor.dims)]
    needed = len(missing) * extractor.dims * 4
    places.check_room(
        cache, needed, "features need", "choose another folder with --cache, or lower --num"
    )
    done = len(rows) - len(missing)
    progress(done, len(rows))
    blocks = [missing[i : i + _BLOCK] for i in range(0, len(missing), _BLOCK)]
    mine = blocks[world.rank :: world.size]
    if mine:
        shards = extract(store, np.concatenate(mine), extractor, _BLOCK)
        for block in _written(folder, mine, shards):
            done += block * world.size
            progress(min(done, len(rows)), len(rows))
    barrier(world)
    return CachedFeatures(folder, rows, extractor.dims)


def _make(folder: Path) -> None:
    """Make the folder, and make room for its files where something else has their names."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.is_symlink() or not folder.is_dir():
            folder.unlink(missing_ok=True)
        folder.mkdir(exist_ok=True)
        for path in (folder / name for name in _FILES):
            if path.is_dir() and not path.is_symlink():
                path.rmdir()  # an empty one: what others have put into it is not ours to remove
            elif path.is_symlink() or not path.is_file():
                path.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(
            f"cached features {folder} cannot be made ({error.strerror}): remove that, or choose "
            "another folder with --cache DIR"
        ) from None


def _valid(folder: Path, rows: NDArray[np.int64], dims: int) -> NDArray[np.bool_]:
    """Return which of `rows` are on disk, whole."""
    result = np.zeros(len(rows), bool)
    checks = _read(folder / _FILES[1], np.dtype("<u4"), 1, rows)[:, 0]
    for start in range(0, len(rows), _READ):
        part = slice(start, start + _READ)
        if checks[part].any():
            found = _read(folder / _FILES[0], np.dtype("<f4"), dims, rows[part])
            result[part] = checks[part] == _checks(folder, rows[part], found)
    return result


def _read(path: Path, dtype: np.dtype[Any], width: int, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Return `rows` (n, width) of a plain file; zeros for those behind its end."""
    result = np.zeros((len(rows), width), dtype)
    whole = path.stat().st_size // (width * dtype.itemsize) if path.exists() else 0
    there = rows < whole
    if there.any():
        result[there] = np.memmap(path, dtype, "r", shape=(whole, width))[rows[there]]
    return result


def _checks(
    folder: Path, rows: NDArray[np.int64], features: NDArray[np.float32]
) -> NDArray[np.uint32]:
    """Return the checksum of each row, its number and its folder: others' do not agree."""
    key = runs.checksum(folder.name.encode())
    before = (runs.checksum(int(row).to_bytes(8, "little"), key) for row in rows)
    pairs = zip(features, before, strict=True)
    return np.array([runs.checksum(row.tobytes(), start) for row, start in pairs], np.uint32)


def _written(
    folder: Path, blocks: list[NDArray[np.int64]], shards: Iterator[NDArray[np.float32]]
) -> Iterator[int]:
    """Write the features of each block of rows, yield its length when they are in the file."""
    features, checks = (os.open(folder / name, os.O_RDWR | os.O_CREAT) for name in _FILES)
    try:
        for block, shard in zip(blocks, shards, strict=True):
            for row, vector, check in zip(block, shard, _checks(folder, block, shard), strict=True):
                os.pwrite(features, vector.tobytes(), int(row) * vector.nbytes)
                os.pwrite(checks, check.tobytes(), int(row) * 4)
            yield len(block)
    finally:
        os.close(features)
        os.close(checks)
