"""A NumPy file of uint8 pixels, told apart by its shape.

    (N, H, W)     (N, H, W, 3)       N images, each a video of its own
    (V, T, H, W)  (V, T, H, W, 3)    V videos of T frames

A last axis of 3 is colour. Invariant: nothing but plain numbers is ever loaded, never pickles.
"""

import functools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from echosweep.config import PrepareConfig
from echosweep.data.source import Clip, Frame, Listing
from echosweep.data.tree import FileTree
from echosweep.errors import UsageError

LOOKS_FOR = "a NumPy file (.npy, or .npz with one array)"


def count(tree: FileTree) -> int:
    """Return how many .npy and .npz files `tree` holds."""
    return len(tree.ending((".npy", ".npz")))


def clips(tree: FileTree, config: PrepareConfig) -> Listing:
    """Return a clip for each image or video of the array.

    Raises UsageError unless there is one uint8 array of one of the four shapes.
    """
    found = tree.ending((".npy", ".npz"))
    if len(found) != 1:
        raise UsageError(f"{tree.root} holds {len(found)} arrays; give one .npy file")
    videos = _load(found[0])
    digits = len(str(len(videos) - 1))
    listed = [
        Clip(name=f"{row:0{digits}}", path=found[0], item=row, frames=videos.shape[1])
        for row in range(len(videos))
    ]
    return Listing(listed, f"{len(videos)} videos of {videos.shape[1]} frames in one array")


def decode(clip: Clip, every: int, channels: int) -> Iterator[Frame]:
    """Yield every `every`-th frame of the clip's row."""
    video = _load(clip.path)[clip.item]
    for number in range(0, len(video), every):
        yield Frame(number, Image.fromarray(np.ascontiguousarray(video[number])))


def _load(path: Path) -> NDArray[np.uint8]:
    """Return the array in `path` as (V, T, H, W) or (V, T, H, W, 3), memory-mapped if .npy."""
    return _load_once(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=1)  # an .npz is decompressed whole: once a process, not once a clip
def _load_once(path: Path, changed: int) -> NDArray[np.uint8]:
    try:
        loaded: Any = np.load(path, mmap_mode="r", allow_pickle=False)
        array = _only(loaded, path) if isinstance(loaded, np.lib.npyio.NpzFile) else loaded
    except UsageError:
        raise
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path} is not a plain NumPy array: {error}") from None
    return _as_videos(array, path)


def _only(archive: Any, path: Path) -> NDArray[Any]:
    with archive:
        if len(archive.files) != 1:
            raise UsageError(
                f"{path} holds {len(archive.files)} arrays ({', '.join(archive.files)}); "
                "save the one you mean with np.save"
            )
        array: NDArray[Any] = archive[archive.files[0]]
        return array


def _as_videos(array: NDArray[Any], path: Path) -> NDArray[np.uint8]:
    if array.dtype != np.uint8:
        raise UsageError(
            f"{path} holds {array.dtype}, uint8 (0 to 255) is needed; for values in [0, 1] save "
            "np.rint(array * 255).astype(np.uint8)"
        )
    colour = array.ndim > 3 and array.shape[-1] == 3
    axes = array.ndim - colour
    if axes not in (3, 4) or 0 in array.shape:
        raise UsageError(
            f"{path} has shape {array.shape}; what can be read: (N, H, W), (N, H, W, 3), "
            "(V, T, H, W), (V, T, H, W, 3)"
        )
    return array[:, None] if axes == 3 else array
