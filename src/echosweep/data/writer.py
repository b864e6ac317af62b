"""Writing frame stores: beside their final place, resumable, renamed when whole.

A partial store is a folder `OUT.partial`, locked by who writes it; it knows its task and takes no
other. Invariant: what its journal (or its marks) vouch for is on disk before they say so.
"""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from echosweep import places, runs
from echosweep.data.store import (
    FILES,
    FORMAT,
    INDEX_DTYPE,
    SPLITS,
    FrameStore,
    Preparation,
    Video,
    image_shape,
    partial_path,
)
from echosweep.errors import EchoSweepError, UsageError

_HEADER_BYTES = 128  # room for the .npy header, written last: N is not known before
_SECONDS_BETWEEN_SYNCS = 1.0  # a sync a video would take half the time of small ones


class StoreWriter:
    """Appends videos to `OUT.partial`, continues where an interrupted run stopped, then renames.

    `task` says what is being written: a partial store of another task is refused, not mixed in.
    Use as a context manager; the partial directory is locked meanwhile.
    """

    def __init__(self, out: str | Path, preparation: Preparation, task: Mapping[str, Any]) -> None:
        self.out = Path(out)
        self.preparation = preparation
        self.partial = partial_path(self.out)
        self._task = dict(task)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(begin_partial(self.out, self._task))
        journal = self.partial / "journal.jsonl"
        self.journal = runs.read_jsonl(journal)
        runs.write_text(journal, "".join(json.dumps(row) + "\n" for row in self.journal))
        self.count = sum(len(row["frames"]) for row in self.journal)
        self._images = self._stack.enter_context((self.partial / "images.npy").open("ab"))
        # The journal is the truth: bytes behind its last row are of a video cut by the stop.
        self._images.truncate(_HEADER_BYTES + self.count * self._image_bytes)
        self._images.seek(0, os.SEEK_END)
        self._journal = self._stack.enter_context(journal.open("a"))
        self._unsynced: list[dict[str, Any]] = []
        self._synced = time.monotonic()
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            self._sync()
        finally:
            if exception[0] and not self.journal:
                shutil.rmtree(self.partial)  # nothing to continue, nothing in the way
            self._stack.close()

    @property
    def _image_shape(self) -> tuple[int, ...]:
        return image_shape(self.preparation)

    @property
    def _image_bytes(self) -> int:
        return int(np.prod(self._image_shape))

    @property
    def done(self) -> set[str]:
        """Return the names already written or excluded."""
        return {row["name"] for row in self.journal}

    def append(
        self, video: Video, images: NDArray[np.uint8], frames: Sequence[int] | NDArray[Any]
    ) -> None:
        """Append one video: images (n, H, W[, 3]) uint8, and the frame number of each."""
        if images.dtype != np.uint8 or images.shape != (len(frames), *self._image_shape):
            raise AssertionError(f"{images.shape} {images.dtype} is not (n, *{self._image_shape})")
        self._images.write(np.ascontiguousarray(images).data)
        self.count += len(images)
        self._note(asdict(video) | {"frames": [int(frame) for frame in frames]})

    def exclude(self, name: str, reason: str) -> None:
        """Note that the video `name` was left out, and why."""
        self._note({"name": name, "excluded": reason, "frames": []})

    def _note(self, row: dict[str, Any]) -> None:
        self.journal.append(row)
        self._unsynced.append(row)
        if time.monotonic() - self._synced > _SECONDS_BETWEEN_SYNCS:
            self._sync()

    def _sync(self) -> None:
        """Make what was appended durable: the pixels first, then the rows that vouch for them."""
        self._images.flush()
        os.fsync(self._images.fileno())
        self._journal.writelines(json.dumps(row) + "\n" for row in self._unsynced)
        self._journal.flush()
        self._unsynced, self._synced = [], time.monotonic()

    @property
    def excluded(self) -> dict[str, str]:
        """Return the reason by name of each video left out so far."""
        return {row["name"]: row["excluded"] for row in self.journal if "excluded" in row}

    @property
    def kept(self) -> list[dict[str, Any]]:
        """Return the rows of the videos written so far, each with its `frames`."""
        return [row for row in self.journal if "excluded" not in row]

    def images(self) -> NDArray[np.uint8]:
        """Return the images written so far, memory-mapped: (N, H, W[, 3])."""
        self._sync()
        path, shape = self.partial / "images.npy", (self.count, *self._image_shape)
        return np.memmap(path, np.uint8, "r", offset=_HEADER_BYTES, shape=shape)

    def finish(self, splits: Sequence[str] | None = None, **facts: Any) -> FrameStore:
        """Write the headers and the manifest, rename the store to `out` and return it.

        Args:
            splits: The split of each of `kept`; None: those that the videos came with.
            facts: Further entries of the manifest.

        Raises:
            EchoSweepError: No image was written.
        """
        kept = self.kept
        if not self.count:
            first = "; ".join(f"{name}: {why}" for name, why in list(self.excluded.items())[:3])
            raise EchoSweepError(
                f"no image to write to {self.out}: none of {len(self.journal)} videos can be used "
                f"({first}). Mend them, remove {self.partial} and prepare again"
            )
        videos = [{k: v for k, v in row.items() if k != "frames"} for row in kept]
        for video, split in zip(videos, splits or (), strict=splits is not None):
            video["split"] = split
        index = np.zeros(self.count, INDEX_DTYPE)
        index["video"] = np.repeat(np.arange(len(kept)), [len(row["frames"]) for row in kept])
        index["frame"] = np.concatenate([row["frames"] for row in kept])
        self._sync()
        with (self.partial / "images.npy").open("r+b") as file:
            file.write(_npy_header((self.count, *self._image_shape)))
        return finish_partial(
            self.out, self.preparation, index, videos, {"excluded": self.excluded, **facts}
        )


@contextlib.contextmanager
def begin_partial(out: Path, task: Mapping[str, Any]) -> Iterator[Path]:
    """Create or re-enter the partial store of `out`, locked; refuse one of another task.

    An EchoSweepError within, which the same call would meet again, leaves no new one behind.
    """
    places.check_free(out)
    partial = partial_path(out)
    with runs.locked(partial):
        note = partial / "task.json"
        wanted, new = json.loads(json.dumps(task)), not note.exists()
        if not new and (found := json.loads(note.read_bytes())) != wanted:
            keys = sorted(k for k in {*found, *wanted} if found.get(k) != wanted.get(k))
            raise UsageError(
                f"{partial} was begun with other settings ({', '.join(keys)}); give the same "
                "again to continue, or remove that folder to start over"
            )
        runs.write_json(note, wanted)
        try:
            yield partial
        except EchoSweepError:
            if new:
                shutil.rmtree(partial)
            raise


def finish_partial(
    out: Path,
    preparation: Preparation,
    index: NDArray[Any],
    videos: Sequence[Mapping[str, Any]],
    facts: Mapping[str, Any],
) -> FrameStore:
    """Give the partial store of `out` its index, videos and manifest; rename it; return it open."""
    partial = partial_path(out)
    runs.atomic_write(partial / "index.npy", lambda file: np.save(file, index))
    runs.write_json(partial / "videos.json", list(videos))
    runs.write_record(
        partial / "manifest.json",
        {
            "format": FORMAT,
            "images": len(index),
            "videos": len(videos),
            "splits": _count_splits(index, videos),
            "preparation": asdict(preparation),
            "fingerprint": preparation.fingerprint,
            **facts,
            "environment": runs.environment(),
            "sha256": {name: runs.sha256_file(partial / name) for name in FILES},
        },
    )
    runs.sync_file(partial / "images.npy")
    partial.rename(out)
    runs.fsync_directory(out.parent)
    for path in out.iterdir():
        if path.name not in (*FILES, "manifest.json"):  # what only resuming needed
            path.unlink()
    return FrameStore.open(out, verify=False)


def write_store(
    out: str | Path,
    preparation: Preparation,
    videos: Sequence[tuple[Video, NDArray[np.uint8]]],
    **facts: Any,
) -> FrameStore:
    """Write a whole store at once from (video, images (n, H, W[, 3])) pairs."""
    with StoreWriter(out, preparation, {"videos": [video.name for video, _ in videos]}) as writer:
        for video, images in videos[len(writer.journal) :]:
            writer.append(video, images, range(len(images)))
        return writer.finish(**facts)


def _count_splits(index: NDArray[Any], videos: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    splits = np.array([video["split"] for video in videos])
    images = splits[index["video"]]
    return {
        name: {"videos": int((splits == name).sum()), "images": int((images == name).sum())}
        for name in SPLITS
    }


def _npy_header(shape: tuple[int, ...]) -> bytes:
    """Return a version 1.0 .npy header of exactly `_HEADER_BYTES` bytes for uint8 of `shape`."""
    text = repr({"descr": "|u1", "fortran_order": False, "shape": shape}).encode()
    body = text.ljust(_HEADER_BYTES - 11) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body
