"""Writing frame stores: beside their final place, resumable, renamed when whole.

The partial store of OUT is `OUT.partial/content`; beside it lies a journal with a row a video.
Invariant: a row counts only if its checksum, of the row and of the video's pixels, agrees; what
follows the first that does not is made again.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from echosweep import folders, runs
from echosweep.data.store import (
    FILES,
    FORMAT,
    INDEX_DTYPE,
    MANIFEST,
    SPLITS,
    FrameStore,
    Preparation,
    Video,
    image_shape,
)
from echosweep.environment import environment
from echosweep.errors import EchoSweepError

NAMES = r"journal\.jsonl|checks\.u32|content/(images\.npy|index\.npy|videos\.json|manifest\.json)"
_HEADER_BYTES = 128  # room for the .npy header, written last: N is not known before
_SECONDS_BETWEEN_SYNCS = 1.0  # a sync a video would take half the time of small ones
JournalRow = dict[str, Any]


class StoreWriter:
    """Appends videos to the partial store, continues where an interrupted run stopped, publishes.

    `task` says what is being written: a partial store of another task is refused, not mixed in.
    Use as a context manager; the partial folder is locked meanwhile.
    """

    def __init__(self, out: str | Path, preparation: Preparation, task: Mapping[str, Any]) -> None:
        self.out = Path(out)
        self.preparation = preparation
        self.partial = folders.partial_path(self.out)
        self._path = folders.content_path(self.out) / "images.npy"
        self._task = dict(task)
        # Of which the checksum of the first row goes on: rows of another task do not agree.
        self._begin = runs.checksum(runs.canonical_json(self._task).encode(errors="surrogatepass"))
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(begin_partial(self.out, self._task))
        journal = self.partial / "journal.jsonl"
        self._images = self._stack.enter_context(folders.open_plain(self._path, "ab+"))
        self.journal = list(self._intact(journal))
        runs.write_text(journal, "".join(json.dumps(row) + "\n" for row in self.journal))
        self.count = sum(len(row["frames"]) for row in self.journal)
        # The journal is the truth: bytes behind its last row are of a video cut by the stop.
        self._images.truncate(_HEADER_BYTES + self.count * self._image_bytes)
        self._images.seek(0, os.SEEK_END)
        self._journal = self._stack.enter_context(folders.open_plain(journal, "a"))
        self._unsynced: list[JournalRow] = []
        self._synced = time.monotonic()
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            self._sync()
        finally:
            if exception[0] and not self.journal:
                folders.discard(self.out, NAMES)  # nothing to continue, nothing in the way
            self._stack.close()

    def _intact(self, journal: Path) -> Iterator[JournalRow]:
        """Yield the rows up to the first that is damaged, or whose pixels are."""
        self._images.seek(_HEADER_BYTES)
        before = self._begin
        for row in runs.read_jsonl(journal):
            frames = row.get("frames")
            count = len(frames) if isinstance(frames, list) else 0
            pixels = _read(self._images, count * self._image_bytes)
            if row.get("check") != (before := _check(row, pixels, before)):
                return
            yield row

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
        pixels = np.ascontiguousarray(images).data
        self._images.write(pixels)
        self.count += len(images)
        self._note(asdict(video) | {"frames": [int(frame) for frame in frames]}, pixels)

    def exclude(self, name: str, reason: str) -> None:
        """Note that the video `name` was left out, and why."""
        self._note({"name": name, "excluded": reason, "frames": []}, b"")

    def _note(self, row: JournalRow, pixels: bytes | memoryview) -> None:
        before = self.journal[-1]["check"] if self.journal else self._begin
        row["check"] = _check(row, pixels, before)
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
    def kept(self) -> list[JournalRow]:
        """Return the rows of the videos written so far, each with its `frames`."""
        return [row for row in self.journal if "excluded" not in row]

    def images(self) -> NDArray[np.uint8]:
        """Return the images written so far, memory-mapped: (N, H, W[, 3])."""
        self._sync()
        shape = (self.count, *self._image_shape)
        return np.memmap(self._path, np.uint8, "r", offset=_HEADER_BYTES, shape=shape)

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
        videos = [{k: v for k, v in row.items() if k not in ("frames", "check")} for row in kept]
        for video, split in zip(videos, splits or (), strict=splits is not None):
            video["split"] = split
        index = np.zeros(self.count, INDEX_DTYPE)
        index["video"] = np.repeat(np.arange(len(kept)), [len(row["frames"]) for row in kept])
        index["frame"] = np.concatenate([row["frames"] for row in kept])
        self._sync()
        with folders.open_plain(self._path, "r+b") as file:
            file.write(_npy_header((self.count, *self._image_shape)))
        facts = {"excluded": self.excluded, **facts}
        return finish_partial(self.out, self._task, self.preparation, index, videos, facts)


def begin_partial(out: Path, task: Mapping[str, Any]) -> contextlib.AbstractContextManager[Path]:
    """Create or re-enter the partial store of `out`, locked; see `folders.begun`."""
    return folders.begun(out, task, NAMES)


def finish_partial(
    out: Path,
    task: Mapping[str, Any],
    preparation: Preparation,
    index: NDArray[Any],
    videos: Sequence[Mapping[str, Any]],
    facts: Mapping[str, Any],
) -> FrameStore:
    """Give the partial store of `out` its index, videos and manifest; publish it; return it."""
    content = folders.content_path(out)
    runs.atomic_write(content / "index.npy", lambda file: np.save(file, index))
    runs.write_json(content / "videos.json", list(videos))
    runs.write_record(
        content / MANIFEST,
        {
            "format": FORMAT,
            "images": len(index),
            "videos": len(videos),
            "splits": _count_splits(index, videos),
            "preparation": asdict(preparation),
            "fingerprint": preparation.fingerprint,
            **facts,
            "task": folders.signatures(task),
            "environment": environment(),
            "sha256": {name: runs.sha256_file(content / name) for name in FILES},
        },
    )
    runs.sync_file(content / "images.npy")
    folders.publish(out)
    return FrameStore.open(out, verify=False)


def find_finished(out: Path, task: Mapping[str, Any]) -> FrameStore | None:
    """Return the store `out` if it is finished, verified; None where there is none.

    What an interrupted call left beside it is removed. Raises UsageError, which names what differs,
    if it was made by another task; one of a version that kept no task counts as none.
    """
    try:
        found = runs.read_record(out / MANIFEST, "remove it, or choose another --out").get("task")
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not isinstance(found, dict):
        return None
    folders.check_same(out, found, task)
    folders.clear_published(out, NAMES)
    return FrameStore.open(out)


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


def _check(row: JournalRow, pixels: bytes | memoryview, before: int) -> int:
    """Return the checksum of a row, its video's pixels and, by its checksum, the row before."""
    text = runs.canonical_json({key: value for key, value in row.items() if key != "check"})
    return runs.checksum(pixels, runs.checksum(text.encode(errors="surrogatepass"), before))


def _read(file: IO[bytes], count: int) -> bytes:
    """Return the next `count` bytes; nothing where there are fewer."""
    left = os.fstat(file.fileno()).st_size - file.tell()
    return file.read(count) if count <= left else b""


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
