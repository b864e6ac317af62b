"""Equal and nearly equal videos under two names: the same clip must not be trained and tested on.

Equal: read from the same bytes. Nearly equal: the same prepared images but for what another codec
or size does to them, frame by frame. A copy that starts at another frame is not found. Invariant:
images that show nothing (all of one grey) prove nothing and link nobody.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from echosweep.data.store import Video

Floats = NDArray[np.float32]
_SIDE = 16  # pictures are compared at this size: codecs change details, not these
_NEAR = 1.5  # root mean square, in grey levels: H.264 at usual rates is below 1
_FLAT = 4.0  # standard deviation of a picture that shows something
_FRAMES = 8  # that are compared of two videos whose first frames agree
_ROWS = 512  # compared with all others at once: bounds the memory
_CANDIDATES = 4  # earlier videos whose frames are compared with those of one


class Twins(NamedTuple):
    """Pairs of rows of `videos`: read from equal bytes, or showing nearly equal images."""

    equal: list[tuple[int, int]]
    near: list[tuple[int, int]]


def find_twins(
    videos: Sequence[Video], frames: Sequence[Sequence[int]], images: NDArray[np.uint8]
) -> Twins:
    """Return the videos that are there twice.

    Args:
        videos: In the order of their images.
        frames: The numbers of each video's frames.
        images: (N, H, W) or (N, H, W, 3), those of the first video first.
    """
    starts = np.concatenate([[0], np.cumsum([len(numbers) for numbers in frames])[:-1]])
    first = np.concatenate([_pooled(images[block]) for block in _blocks(starts)])
    for video in np.flatnonzero(_spread(first) <= _FLAT).tolist():  # a video may begin in the dark
        rows = images[starts[video] : starts[video] + len(frames[video])]
        first[video] = _first_that_shows(rows)
    shows = _spread(first) > _FLAT
    equal = _equal(videos, shows)
    shows[[later for _, later in equal]] = False  # the first of equal videos stands for all
    near = [
        pair
        for pair in _candidates(first.reshape(len(first), -1), shows)
        if _agree(pair, starts, frames, images)
    ]
    return Twins(equal, near)


def _spread(pictures: Floats) -> Floats:
    """Return the standard deviation of each picture."""
    spread: Floats = pictures.reshape(len(pictures), -1).std(axis=1)
    return spread


def _first_that_shows(images: NDArray[np.uint8]) -> Floats:
    """Return the first of a video's pictures that is not of one grey; the last if all are."""
    for image in images:
        picture = _pooled(image[None])
        if _spread(picture)[0] > _FLAT:
            break
    found: Floats = picture[0]
    return found


def _equal(videos: Sequence[Video], shows: NDArray[np.bool_]) -> list[tuple[int, int]]:
    by_content: defaultdict[str, list[int]] = defaultdict(list)
    for row, video in enumerate(videos):
        if video.content and shows[row]:
            by_content[video.content].append(row)
    return [(rows[0], row) for rows in by_content.values() for row in rows[1:]]


def _candidates(first: Floats, shows: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield pairs (earlier, later) whose first images are near, few for each later one.

    Images this near have means this near, so only those with a mean close by are compared.
    """
    rows = np.flatnonzero(shows)
    order = rows[np.argsort(first[rows].mean(axis=1), kind="stable")]
    sorted_first, limit = first[order], _NEAR**2 * first.shape[1]
    means, squares = sorted_first.mean(axis=1), (sorted_first**2).sum(axis=1)
    found: defaultdict[int, list[int]] = defaultdict(list)
    for start in range(0, len(order), _ROWS):
        block = slice(start, min(start + _ROWS, len(order)))
        end = int(np.searchsorted(means, means[block.stop - 1] + _NEAR, side="right"))
        products = sorted_first[block] @ sorted_first[start:end].T
        distances = squares[block, None] + squares[None, start:end] - 2 * products
        one, other = np.nonzero(np.triu(distances < limit, k=1))
        for a, b in zip(order[start + one].tolist(), order[start + other].tolist(), strict=True):
            if len(found[max(a, b)]) < _CANDIDATES:
                found[max(a, b)].append(min(a, b))
    for later in sorted(found):
        yield from ((earlier, later) for earlier in sorted(found[later]))


def _agree(
    pair: tuple[int, int],
    starts: NDArray[np.int64],
    frames: Sequence[Sequence[int]],
    images: NDArray[np.uint8],
) -> bool:
    """Say whether the frames that both videos have are near; one ends earlier, perhaps."""
    one, other = pair
    common = sorted(set(frames[one]) & set(frames[other]))
    chosen = common[:: max(1, len(common) // _FRAMES)]
    rows = [[int(starts[video]) + frames[video].index(frame) for frame in chosen] for video in pair]
    difference = _pooled(images[rows[0]]) - _pooled(images[rows[1]])
    return bool(np.sqrt((difference**2).mean(axis=(1, 2))).max() < _NEAR)


def _blocks(starts: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    yield from np.array_split(starts, max(1, len(starts) // (8 * _ROWS)))


def _pooled(images: NDArray[np.uint8]) -> Floats:
    """Return the means of blocks of `images`: (n, up to 16, up to 16), grey."""
    height, width = images.shape[1:3]
    down, across = max(1, height // _SIDE), max(1, width // _SIDE)
    trimmed = images[:, : height // down * down, : width // across * across]
    shape = (len(images), height // down, down, width // across, across, -1)
    means: Floats = trimmed.reshape(shape).mean(axis=(2, 4, 5), dtype=np.float32)
    return means
