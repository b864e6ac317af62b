"""A store without some of its images: what remains when copies of patients are taken out.

Invariant: the store that is read is never changed; the new one says what it was made from and what
is missing.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from echosweep.data.store import FrameStore
from echosweep.data.writer import begin_partial, find_finished, finish_partial
from echosweep.errors import UsageError
from echosweep.folders import content_path

_CHUNK = 4096  # images
_WRITTEN_ANEW = {
    *("format", "images", "videos", "splits", "preparation", "fingerprint"),
    *("environment", "sha256", "signature", "task"),
}


def drop_rows(
    store: FrameStore, rows: NDArray[np.int64], out: Path, facts: Mapping[str, Any]
) -> FrameStore:
    """Write `store` without the images `rows` to `out`, and return the new store.

    Videos that lose all images vanish. The manifest keeps the source and adds to the list
    `removed`: the content it was made from, the rows, and `facts` (JSON), e.g. why. Where `out` is
    this very store already, it is returned. Raises UsageError for a row that is not there, if no
    image would remain, or if `out` is anything else.
    """
    kept = np.setdiff1d(np.arange(len(store)), rows)
    missing = np.setdiff1d(rows, np.arange(len(store)))
    if len(missing):
        raise UsageError(
            f"{store.path} has no row {int(missing[0])}; rows are 0 to {len(store) - 1}"
        )
    if not len(kept):
        raise UsageError(f"{store.path}: all {len(store)} images would be removed; keep some")
    dropped = np.unique(rows).tolist()
    removed = {"from": store.content, "count": len(dropped), "rows": dropped, **facts}
    task = {"removed": removed}
    if finished := find_finished(out, task):
        return finished
    with begin_partial(out, task):
        path, shape = content_path(out) / "images.npy", (len(kept), *store.images.shape[1:])
        images = open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
        for start in range(0, len(kept), _CHUNK):
            images[start : start + _CHUNK] = store.images[kept[start : start + _CHUNK]]
        images.flush()
        index = store.index[kept].copy()
        numbers, index["video"] = np.unique(index["video"], return_inverse=True)
        videos = [asdict(store.videos[number]) for number in numbers]
        carried = {k: v for k, v in store.manifest.items() if k not in _WRITTEN_ANEW}
        carried["removed"] = [*carried.get("removed", []), removed]
        return finish_partial(out, task, store.preparation, index, videos, carried)
