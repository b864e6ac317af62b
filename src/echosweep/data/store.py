"""The frame store: a set of images, real or generated, is always one of these directories.

    images.npy     uint8 (N, H, W) grey or (N, H, W, 3) colour, read memory-mapped
    index.npy      one row an image: video (int32, a row of videos.json), frame (int32)
    videos.json    one row a video: name, split, patient, labels, content
    manifest.json  source, preparation, fingerprint, counts, exclusions, SHA-256 of each file

The fingerprint is a hash of how pixels were made (size, channels, fit, filter, decoder), not of
what they show: only images made alike may be compared. Invariant: a store that opens is complete;
unfinished ones live in `NAME.partial` beside it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from echosweep import bounded, folders, runs
from echosweep.errors import EchoSweepError, UsageError

FORMAT = 1
_AGAIN = "copy the store again, or remove it and make it again"
_MOST_BYTES = 1 << 29  # of videos.json
INDEX_DTYPE = np.dtype([("video", "<i4"), ("frame", "<i4")])
SPLITS = ("train", "val", "test")
FILES, MANIFEST = ("images.npy", "index.npy", "videos.json"), "manifest.json"


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
    """A row of videos.json. Labels are numbers or words by name (EF, ESV, EDV, class).

    content: 16 hex digits of the SHA-256 of what the video was read from, whatever its name, size
    and split; "" where that is not known (generated images, stores of earlier versions).
    """

    name: str
    split: str = "train"
    patient: str | None = None
    labels: dict[str, float | str] = field(default_factory=dict)
    content: str = ""


class FrameStore:
    """An open frame store. `images` is memory-mapped: (N, H, W) or (N, H, W, 3), uint8."""

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path = path
        self.manifest = manifest
        self.preparation = Preparation.from_json(manifest["preparation"])
        for name in FILES:
            bounded.open_file(path / name).close()  # NumPy would wait for a pipe
        self.images: NDArray[np.uint8] = np.load(path / "images.npy", mmap_mode="r")
        # As arrays of zeros can be stored in no space, the index must fit the images, not memory.
        self.index: NDArray[Any] = np.load(path / "index.npy", mmap_mode="r")
        if self.index.shape != self.images.shape[:1] or self.index.dtype != INDEX_DTYPE:
            raise ValueError(f"the index is {self.index.shape} {self.index.dtype}")
        self.index = np.array(self.index)
        rows = json.loads(bounded.read_bytes(path / "videos.json", _MOST_BYTES))
        self.videos = [_video(row) for row in rows]

    @classmethod
    def open(cls, path: str | Path, verify: bool = True) -> Self:
        """Open the store at `path`; with `verify`, check every file's SHA-256 (about 1 GB/s).

        Raises UsageError where no store is, EchoSweepError where one is damaged.
        """
        path = Path(path)
        if not (path / MANIFEST).is_file():
            raise UsageError(_why_no_store(path))
        try:
            manifest = runs.read_record(path / MANIFEST, _AGAIN)
            if manifest["format"] != FORMAT:
                raise UsageError(
                    f"{path} has store format {manifest['format']}, this version reads {FORMAT}; "
                    "prepare it again"
                )
            for name in FILES if verify else ():
                if runs.sha256_file(path / name) != manifest["sha256"][name]:
                    raise EchoSweepError(
                        f"{path / name} does not match its SHA-256 in manifest.json: the file was "
                        f"changed or damaged; {_AGAIN}"
                    )
            store = cls(path, manifest)
            store._check_agreement()
            return store
        except EchoSweepError:
            raise
        except Exception as error:  # a damaged file can make a parser fail in any way
            raise EchoSweepError(
                f"{path} is a damaged frame store ({error!r:.200}); {_AGAIN}"
            ) from error

    def _check_agreement(self) -> None:
        """Raise ValueError unless the files of the store describe the same images."""
        shape = (len(self.index), *image_shape(self.preparation))
        if self.images.shape != shape or self.images.dtype != np.uint8:
            raise ValueError(f"images are {self.images.shape} {self.images.dtype}, not {shape}")
        if self.manifest["fingerprint"] != self.fingerprint:
            raise ValueError("the preparation is not that of the fingerprint")
        video, frame = self.index["video"], self.index["frame"]
        if not ((video >= 0) & (video < len(self.videos)) & (frame >= 0)).all():
            raise ValueError("the index names videos or frames that are not there")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def fingerprint(self) -> str:
        """Return the fingerprint of the store's preparation."""
        return self.preparation.fingerprint

    @property
    def content(self) -> str:
        """Return the SHA-256 of the images: the name of what depends on pixels alone."""
        return str(self.manifest["sha256"]["images.npy"])

    @property
    def identity(self) -> str:
        """Return 16 hex digits of all files: of the images, and whose they are.

        The name of what also depends on videos, patients, splits or labels.
        """
        return runs.signature(self.manifest["sha256"])

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


def _video(row: Any) -> Video:
    """Return the video of a row of videos.json; raise ValueError for values of other types."""
    video = Video(**row)
    texts = (video.name, video.split, video.content, video.patient or "")
    labels = [*video.labels, *video.labels.values()]
    if not all(isinstance(text, str) for text in texts) or video.split not in (*SPLITS, ""):
        raise ValueError("videos.json has a video whose name, split, patient or content is none")
    if not all(isinstance(label, str | int | float) for label in labels):
        raise ValueError("videos.json has a label that is neither a number nor text")
    return video


def check_comparable(
    first: FrameStore, second: FrameStore, allow: Sequence[str] | None = None
) -> None:
    """Raise UsageError unless both stores were made alike, or differ only in what `allow` names.

    allow: None where the caller lets nobody allow a difference.
    """
    one, two = asdict(first.preparation), asdict(second.preparation)
    unknown = set(allow or ()) - set(one)
    if unknown:
        raise UsageError(f"{sorted(unknown)} cannot be allowed; what can: {', '.join(one)}")
    different = [name for name in one if one[name] != two[name]]
    if set(different) - set(allow or ()):
        pairs = "; ".join(f"{name}: {one[name]!r} and {two[name]!r}" for name in different)
        raise UsageError(
            f"{first.path} ({first.fingerprint}) and {second.path} ({second.fingerprint}) were "
            f"made differently ({pairs}), so a distance between them would measure that too. "
            f"Prepare both alike{_how_to_allow(different) if allow is not None else ''}"
        )


def _how_to_allow(different: Sequence[str]) -> str:
    return ", or allow it by name: " + " ".join(f"--allow-difference {x}" for x in different)


def image_shape(preparation: Preparation) -> tuple[int, ...]:
    """Return the shape of one image: (H, W) grey, (H, W, 3) colour."""
    return preparation.size if preparation.channels == 1 else (*preparation.size, 3)


def constant(images: NDArray[np.uint8]) -> int:
    """Return how many of the images (N, H, W[, 3]) have one grey level, or colour, alone."""
    return int((images == images[:, :1, :1]).reshape(len(images), -1).all(axis=1).sum())


def _why_no_store(path: Path) -> str:
    if path.name not in ("", "..") and folders.partial_path(path).exists():
        return f"{path} is not finished; run the command that makes it again, it will continue"
    if not path.exists():
        make = runs.command_line("prepare", "SOURCE", "--out", path)
        return f"there is no {path}; make a store with `{make}`"
    return f"{path} is not a frame store (no manifest.json); make one with `echosweep prepare`"
