"""What a format is: a way to write the images of a frame store as a folder for other programs.

File NNNNNN is row NNNNNN of the store, and says of itself that it is synthetic wherever its kind of
file has room for words. Invariant: images are read one at a time, whatever their number, and their
pixels are not changed.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from echosweep.data.store import FrameStore
from echosweep.progress import Progress

WARNING = "NOT FOR CLINICAL USE"


class Picture(NamedTuple):
    """A generated image: pixels (H, W) or (H, W, 3), uint8; seed: what it was drawn from."""

    name: str
    pixels: NDArray[np.uint8]
    seed: int
    split: str
    labels: Mapping[str, float | str]


def each(store: FrameStore, num: int, progress: Progress) -> Iterator[Picture]:
    """Yield the first `num` images of a generated store, and count those that are written."""
    for row in range(num):
        entry = store.index[row]
        video = store.videos[entry["video"]]
        pixels = np.ascontiguousarray(store.images[row])
        yield Picture(f"{row:06d}", pixels, int(entry["frame"]), video.split, video.labels)
        progress(row + 1, num)


def describe(store: FrameStore, picture: Picture) -> str:
    """Return what an image says of itself, in ASCII, without a path or a name of anybody."""
    return (
        f"Synthetic image of no patient, {WARNING}. Drawn by a diffusion model (SHA-256 "
        f"{store.manifest['source']['model']}) from seed {picture.seed}."
    )


def nothing() -> None:
    """Need nothing: the check of a format that every installation can write."""


class Format(NamedTuple):
    """A row of FORMATS. folder: its name in an export. about: what lies there, in Markdown.

    write(store, num, out, progress) makes the folder `out` of the first `num` images, over what an
    interrupted call left there. check raises
    UsageError where something is lacking that it needs. overhead: bytes a file, beside its pixels.
    """

    folder: str
    about: str
    write: Callable[[FrameStore, int, Path, Progress], None]
    check: Callable[[], None] = nothing
    overhead: int = 0
