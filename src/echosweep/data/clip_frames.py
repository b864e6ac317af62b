"""The kept frames of one clip as small images, or the reason why there are none.

A decoder raises anything on a damaged file, so whatever it raises is the fault of that clip alone.
Invariant: no frame beyond the limits is kept, and all frames of a clip have one size.
"""

import hashlib
import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from echosweep import runs
from echosweep.data import SOURCES
from echosweep.data.limits import LIMITS, Limits
from echosweep.data.pixels import TOGETHER, small_images
from echosweep.data.source import Broken, Clip, Frame, Guard
from echosweep.data.store import Preparation, image_shape


class DecodeTask(NamedTuple):
    """What to do with every clip.

    Attributes:
        kind: Of its source.
        every: One frame in how many is kept.
        preparation: What becomes of a frame; None: only the first is kept, in colour, as it is.
        limits: What a clip may have.
    """

    kind: str
    every: int
    preparation: Preparation | None
    limits: Limits = LIMITS


class Decoded(NamedTuple):
    """The kept frames of a clip.

    Attributes:
        numbers: The number of each in the clip.
        images: (n, H, W[, 3]) uint8.
        fault: Why there is none; "" where there are some.
        content: The hash of what the clip was read from, as `Video.content`.
    """

    numbers: list[int]
    images: NDArray[np.uint8]
    fault: str = ""
    content: str = ""


def broken(task: DecodeTask, fault: str) -> Decoded:
    """Return the result for a clip that cannot be used."""
    shape = image_shape(task.preparation) if task.preparation else (0, 0, 3)
    return Decoded([], np.empty((0, *shape), np.uint8), fault)


def decode_clip(
    task: DecodeTask, clip: Clip, watch: Callable[[bool], object] = lambda on: None
) -> Decoded:
    """Return the kept frames of `clip` as small images, or the reason why it cannot be used.

    Args:
        task: What to do with it.
        clip: What to decode.
        watch: Called with True before each frame, with False after the last one.
    """
    with Guard() as guard:
        if clip.fault:
            raise Broken(clip.fault)
        if clip.path.is_file() and clip.path.stat().st_size == 0:
            raise Broken("empty file (0 bytes)")
        watch(True)
        try:
            numbers, images = _decode(task, clip, watch)
        finally:
            watch(False)
        content = getattr(SOURCES[task.kind], "content", file_content) if task.preparation else None
        return Decoded(numbers, images, content=content(clip) if content else "")
    return broken(task, guard.fault)


def _decode(
    task: DecodeTask, clip: Clip, watch: Callable[[bool], object]
) -> tuple[list[int], NDArray[np.uint8]]:
    numbers, images = [], []
    source, how = SOURCES[task.kind], task.preparation
    channels = how.channels if how else 3
    frames = _within(source.decode(clip, task.every, channels, task.limits), task.limits)
    while group := list(itertools.islice(frames, TOGETHER if how else 1)):
        watch(True)
        numbers += [frame.number for frame in group]
        if how is None:
            images.append(np.asarray(group[0].image.convert("RGB"))[None])
            break
        images.append(small_images(group, how))
    if not images:
        raise Broken("no frames")
    return numbers, np.concatenate(images)


def file_content(clip: Clip) -> str:
    """Return the hash of the bytes of a clip's files: 16 hex digits, whatever their names.

    A kind that keeps several clips in one file has a function `content` of its own.
    """
    digest = hashlib.sha256()
    for path in clip.parts or (clip.path,):
        digest.update(bytes.fromhex(runs.sha256_file(path)))
    return digest.hexdigest()[:16]


def _within(frames: Iterator[Frame], limits: Limits) -> Iterator[Frame]:
    """Yield `frames`; raise Broken at one beyond the limits, or not of the size of the first."""
    size: tuple[int, int] | None = None
    for frame in frames:
        size = size or frame.image.size
        limits.check_frames(frame.number + 1)
        limits.check_size(*frame.image.size)
        if frame.image.size != size:
            raise Broken(f"frame {frame.number} is {frame.image.size}, those before {size}")
        yield frame
