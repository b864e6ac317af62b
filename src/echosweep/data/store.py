"""The frame store: a set of images, real or generated, is always one of these directories.

    images.npy     uint8 (N, H, W) grey or (N, H, W, 3) colour, read memory-mapped
    index.npy      one row an image: video (int32, a row of videos.json), frame (int32)
    videos.json    one row a video: name, split, patient, labels
    manifest.json  source, preparation, fingerprint, counts, exclusions, SHA-256 of each file

The fingerprint is a hash of how pixels were made (size, channels, fit, filter, decoder), not of
what they show: only images made alike may be compared. Invariant: a store that opens is complete;
unfinished ones live in `NAME.partial` beside it.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from echosweep import runs
from echosweep.errors import EchoSweepError, UsageError

FORMAT = 1
INDEX_DTYPE = np.dtype([("video", "<i4"), ("frame", "<i4")])
SPLITS = ("train", "val", "test")
_HEADER_BYTES = 128  # room for the .npy header, written last: N is not known before
_SECONDS_BETWEEN_SYNCS = 1.0  # a sync a video would take half the time of small ones
_FILES = ("images.npy", "index.npy", "videos.json")


@dataclass(frozen=True)
class Preparation:
    """How pixels came to be: all of it enters the fingerprint.

    size: (height, width) in pixels. channels: 1 or 3. fit: "crop" (centred square) or "letterbox"
    (black bars). filter: the antialiased resize filter. luma: how grey values were taken.
    """

    size: tuple[int, int]
    channels: int = 1
    fit: str = "crop"
    filter: str = "lanczos"
    luma: str = "full-range"

    @property
    def fingerprint(self) -> str:
        """Return 16 hex digits that are equal if and only if the preparations are."""
        return runs.signature(asdict(self) | {"size": list(self.size)})

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the preparation that a manifest describes."""
        return cls(**{**value, "size": tuple(value["size"])})


@dataclass(frozen=True)
class Video:
    """A row of videos.json. Labels are numbers or words by name (EF, ESV, EDV, class)."""

    name: str
    split: str = "train"
    patient: str | None = None
    labels: dict[str, float | str] = field(default_factory=dict)


class FrameStore:
    """An open frame store. `images` is memory-mapped: (N, H, W) or (N, H, W, 3), uint8."""

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path = path
        self.manifest = manifest
        self.preparation = Preparation.from_json(manifest["preparation"])
        self.images: NDArray[np.uint8] = np.load(path / "images.npy", mmap_mode="r")
        self.index: NDArray[Any] = np.load(path / "index.npy")
        self.videos = [Video(**row) for row in json.loads((path / "videos.json").read_text())]

    @classmethod
    def open(cls, path: str | Path, verify: bool = True) -> Self:
        """Open the store at `path`; with `verify`, check every file's SHA-256 (about 1 GB/s).

        Raises UsageError where no store is, EchoSweepError where one is damaged.
        """
        path = Path(path)
        if not (path / "manifest.json").is_file():
            raise UsageError(_why_no_store(path))
        try:
            manifest = json.loads((path / "manifest.json").read_text())
            if manifest["format"] != FORMAT:
                raise UsageError(
                    f"{path} has store format {manifest['format']}, this version reads {FORMAT}; "
                    "prepare it again"
                )
            for name in _FILES if verify else ():
                if runs.sha256_file(path / name) != manifest["sha256"][name]:
                    raise EchoSweepError(
                        f"{path / name} does not match its SHA-256 in manifest.json: the file was "
                        "changed or damaged; copy or prepare the store again"
                    )
            return cls(path, manifest)
        except (KeyError, TypeError, OSError, json.JSONDecodeError) as error:
            raise EchoSweepError(
                f"{path} is a damaged frame store ({error!r}); copy or prepare it again"
            ) from error

    def __len__(self) -> int:
        return len(self.images)

    @property
    def fingerprint(self) -> str:
        """Return the fingerprint of the store's preparation."""
        return self.preparation.fingerprint

    @property
    def content(self) -> str:
        """Return the SHA-256 of the images: the name of the content in caches."""
        return str(self.manifest["sha256"]["images.npy"])

    @property
    def splits(self) -> NDArray[np.str_]:
        """Return the split of each image, (N,)."""
        splits: NDArray[np.str_] = np.array([video.split for video in self.videos])
        return np.take(splits, self.index["video"])

    def rows(self, split: str | None = None) -> NDArray[np.int64]:
        """Return the row numbers of a split ("train", "val", "test"; None: all), ascending."""
        if split is None:
            return np.arange(len(self))
        if split not in SPLITS:
            raise UsageError(f"split {split!r} is not one of {', '.join(SPLITS)}")
        rows = np.flatnonzero(self.splits == split)
        if len(rows) == 0:
            counts = {name: int((self.splits == name).sum()) for name in SPLITS}
            raise UsageError(f"{self.path} has no image in split {split!r}; it has {counts}")
        return rows


def check_comparable(first: FrameStore, second: FrameStore, allow: Sequence[str] = ()) -> None:
    """Raise UsageError unless both stores were made alike, or differ only in what `allow` names."""
    one, two = asdict(first.preparation), asdict(second.preparation)
    unknown = set(allow) - set(one)
    if unknown:
        raise UsageError(f"{sorted(unknown)} cannot be allowed; what can: {', '.join(one)}")
    different = [name for name in one if one[name] != two[name]]
    if set(different) - set(allow):
        pairs = "; ".join(f"{name}: {one[name]!r} and {two[name]!r}" for name in different)
        raise UsageError(
            f"{first.path} ({first.fingerprint}) and {second.path} ({second.fingerprint}) were "
            f"made differently ({pairs}), so a distance between them would measure that too. "
            "Prepare both alike, or allow it by name: "
            + " ".join(f"--allow-difference {name}" for name in different)
        )


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

    def finish(self, **facts: Any) -> FrameStore:
        """Write the headers and the manifest (with `facts`), rename to `out`, return the store."""
        kept = [row for row in self.journal if "excluded" not in row]
        if not self.count:
            raise EchoSweepError(f"no image to write to {self.out}: {self.excluded or 'no video'}")
        videos = [{k: v for k, v in row.items() if k != "frames"} for row in kept]
        index = np.zeros(self.count, INDEX_DTYPE)
        index["video"] = np.repeat(np.arange(len(kept)), [len(row["frames"]) for row in kept])
        index["frame"] = np.concatenate([row["frames"] for row in kept])
        self._sync()
        with (self.partial / "images.npy").open("r+b") as file:
            file.write(_npy_header((self.count, *self._image_shape)))
        return finish_partial(
            self.out, self.preparation, index, videos, {"excluded": self.excluded, **facts}
        )


def image_shape(preparation: Preparation) -> tuple[int, ...]:
    """Return the shape of one image: (H, W) grey, (H, W, 3) colour."""
    return preparation.size if preparation.channels == 1 else (*preparation.size, 3)


def partial_path(out: Path) -> Path:
    """Return where the unfinished store of `out` lives."""
    return out.with_name(out.name + ".partial")


@contextlib.contextmanager
def begin_partial(out: Path, task: Mapping[str, Any]) -> Iterator[Path]:
    """Create or re-enter the partial store of `out`, locked; refuse one of another task."""
    if out.exists():
        raise UsageError(f"{out} exists already; remove it, or choose another --out")
    partial = partial_path(out)
    with runs.locked(partial):
        note = partial / "task.json"
        wanted = json.loads(json.dumps(task))
        if note.exists() and (found := json.loads(note.read_text())) != wanted:
            keys = sorted(k for k in {*found, *wanted} if found.get(k) != wanted.get(k))
            raise UsageError(
                f"{partial} was begun with other settings ({', '.join(keys)}); give the same "
                "again to continue, or remove that folder to start over"
            )
        runs.write_json(note, wanted)
        yield partial


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
    runs.write_json(
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
            "sha256": {name: runs.sha256_file(partial / name) for name in _FILES},
        },
    )
    runs.sync_file(partial / "images.npy")
    partial.rename(out)
    runs.fsync_directory(out.parent)
    for path in out.iterdir():
        if path.name not in (*_FILES, "manifest.json"):  # what only resuming needed
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


def _why_no_store(path: Path) -> str:
    if partial_path(path).exists():
        return f"{path} is not finished; run the command that makes it again, it will continue"
    if not path.exists():
        return f"there is no {path}; make a store with `echosweep prepare SOURCE --out {path}`"
    return f"{path} is not a frame store (no manifest.json); make one with `echosweep prepare`"
