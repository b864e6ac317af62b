"""A NumPy file of uint8 pixels; its axes are told apart by its shape, or named by `--axes`.

    NHW   (N, H, W)       NHWC   (N, H, W, C)       NCHW   (N, C, H, W)       N images
    VTHW  (V, T, H, W)    VTHWC  (V, T, H, W, C)    VTCHW  (V, T, C, H, W)    V videos of T frames

Each image is a video of its own. C is 3 (colour) or 1 (grey). No side is below 8 pixels, so a
shape and a number of frames have one reading. Invariant: nothing but plain numbers is ever loaded,
never pickles.
"""

import functools
import hashlib
import io
import math
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from echosweep.config import PrepareConfig
from echosweep.config.prepare import MIN_SIDE
from echosweep.data.limits import LIMITS, Limits
from echosweep.data.source import Broken, Clip, Frame, Listing
from echosweep.data.tree import FileTree
from echosweep.errors import UsageError

SUFFIXES = (".npy", ".npz")
LOOKS_FOR = "a NumPy file (.npy, or .npz with one array)"
_AXES = ("NHW", "NHWC", "NCHW", "VTHW", "VTHWC", "VTCHW")
_COLOURS = (1, 3)
_HEADER = 1 << 16  # bytes at the start that are read for the header
_MOST_CONTENTS = 1 << 20  # bytes of an .npz that are read at a time
_MOST_ROWS = 2_000_000  # a clip each
_LOOKED_AT = 64  # rows whose values choose the advice: an array may be larger than the memory
Shape = tuple[int, ...]


def count(tree: FileTree) -> int:
    """Return how many .npy and .npz files `tree` holds."""
    return len(tree.ending(SUFFIXES))


def clips(tree: FileTree, config: PrepareConfig) -> Listing:
    """Return a clip for each image or video of the array.

    Args:
        tree: One array, or a folder with one.
        config: `axes` names the axes; "auto" reads them from the shape.

    Raises:
        UsageError: There is not exactly one array, or it is not uint8, or of another shape.
    """
    path = _only_file(tree)
    array = _load(path, Limits.of(config))
    axes = _guess(array.shape, path) if config.axes == "auto" else config.axes
    _check_shape(array.shape, axes, path)
    if array.dtype != np.uint8:
        raise UsageError(
            f"{path} holds {array.dtype}, uint8 (0 to 255) is needed; {_advice(array)}"
        )
    rows, frames = len(array), _frames(array.shape, axes)
    digits = len(str(rows - 1))
    listed = [Clip(f"{row:0{digits}}", path, item=row, frames=frames) for row in range(rows)]
    return Listing(listed, _layout(array.shape, axes), notes=_notes(config, axes, array.shape))


def decode(clip: Clip, every: int, channels: int, limits: Limits = LIMITS) -> Iterator[Frame]:
    """Yield every `every`-th frame of the clip's row; raise Broken if the file has changed."""
    try:
        array = _load(clip.path, limits)
        axes = _axes_of(array.shape, clip.frames)
    except UsageError:
        axes = ""
    if not axes or array.dtype != np.uint8 or clip.item >= len(array):
        raise Broken(f"{clip.path.name} has changed since it was listed")
    video = _as_video(array[clip.item], axes[1:])
    for number in range(0, len(video), every):
        yield Frame(number, Image.fromarray(np.ascontiguousarray(video[number])))


def content(clip: Clip) -> str:
    """Return the hash of the clip's own row: the file holds all clips."""
    row = np.ascontiguousarray(_load(clip.path)[clip.item])
    return hashlib.sha256(repr(row.shape).encode() + row.tobytes()).hexdigest()[:16]


def _axes_of(shape: Shape, frames: int) -> str:
    """Return the axes of an array with so many frames a row; "" if there are none."""
    fitting = (axes for axes in _AXES if not _misfit(shape, axes))
    return next((axes for axes in fitting if _frames(shape, axes) == frames), "")


def _as_video(row: NDArray[np.uint8], axes: str) -> NDArray[np.uint8]:
    """Return one row of the array as (T, H, W) or (T, H, W, 3); `axes` names the row's own."""
    if "C" in axes:
        row = np.moveaxis(row, axes.index("C"), -1)
        row = row[..., 0] if row.shape[-1] == 1 else row
    return row if "T" in axes else row[None]


# --- the shape ------------------------------------------------------------------------------


def _guess(shape: Shape, path: Path) -> str:
    """Return the axes of an array of `shape`; raise UsageError where nothing fits."""
    if len(shape) == 3:
        return "NHW"
    if len(shape) == 4:
        return "NHWC" if shape[3] <= 4 else "NCHW" if shape[1] in _COLOURS else "VTHW"
    if len(shape) == 5:
        return "VTCHW" if shape[4] > 4 and shape[2] in _COLOURS else "VTHWC"
    one = "; one image is read as array[None]" if len(shape) == 2 else ""
    raise UsageError(f"{path} has shape {shape}; what can be read: {_readable()}{one}")


def _check_shape(shape: Shape, axes: str, path: Path) -> None:
    if misfit := _misfit(shape, axes):
        raise UsageError(
            f"{path} has shape {shape}, as {_in_words(axes)} {misfit}; {_mend(shape, axes)}"
        )


def _misfit(shape: Shape, axes: str) -> str:
    """Return why `shape` cannot be read as `axes`; "" if it can be."""
    if len(shape) != len(axes):
        return f"it has {len(shape)} axes, not {len(axes)}"
    sides = dict(zip(axes, shape, strict=True))
    if 0 in shape:
        return "it has no pixels"
    if sides.get("C", 1) not in _COLOURS:
        return f"it has {sides['C']} channels, not 1 or 3"
    if min(sides["H"], sides["W"]) < MIN_SIDE:
        return f"its images have {sides['H']}x{sides['W']} pixels, and need {MIN_SIDE} a side"
    return ""


def _mend(shape: Shape, axes: str) -> str:
    """Return what to do with an array whose `shape` does not fit `axes`."""
    if others := [each for each in _AXES if not _misfit(shape, each)]:
        return f"choose --axes {' or '.join(others)}"
    if len(shape) == len(axes) and "C" in axes and shape[axes.index("C")] in (2, 4):
        channel = axes.index("C")
        kept = "0" if shape[channel] == 2 else ":3"
        before = ", ".join([":"] * channel) if channel < len(axes) - 1 else "..."
        return f"save array[{before}, {kept}] to drop transparency"
    if len(shape) == 3 and shape[2] in _COLOURS:
        return "one colour image is read as array[None]"
    return f"what can be read: {_readable()}"


def _frames(shape: Shape, axes: str) -> int:
    return shape[1] if "T" in axes else 1


def _in_words(axes: str) -> str:
    return f"({', '.join(axes)})"


def _readable() -> str:
    return ", ".join(_in_words(axes) for axes in _AXES)


def _layout(shape: Shape, axes: str) -> str:
    what = f"videos of {shape[1]} frames" if "T" in axes else "images"
    colour = shape[axes.index("C")] == 3 if "C" in axes else False
    return f"{shape[0]} {what} {_in_words(axes)}, {'colour' if colour else 'grey'}"


def _notes(config: PrepareConfig, axes: str, shape: Shape) -> Sequence[str]:
    if config.axes != "auto" or axes != "NCHW" or shape[1] == 1:
        return ()
    return (
        f"axis 1 of shape {shape} is read as colour; choose --axes VTHW if these are videos of "
        f"{shape[1]} frames",
    )


# --- the values -----------------------------------------------------------------------------


def _advice(array: NDArray[Any]) -> str:
    """Return the NumPy expression that makes uint8 of `array`, chosen by its values."""
    if array.dtype == np.bool_:
        return "save array.astype(np.uint8) * 255"
    if array.dtype.kind not in "iuf":
        return "save plain numbers"
    some = np.asarray(array[:: max(1, len(array) // _LOOKED_AT)])
    if not np.isfinite(some).all():
        return "some values are not finite: replace them first (np.nan_to_num)"
    low, high = float(some.min()), float(some.max())
    return f"for values from {low:g} to {high:g} save {_expression(array.dtype, low, high)}"


def _expression(dtype: "np.dtype[Any]", low: float, high: float) -> str:
    if dtype.kind == "f" and low >= 0 and high <= 1:
        return "np.rint(array * 255).astype(np.uint8)"
    if dtype.kind == "f" and low >= -1 and high <= 1:
        return "np.rint((array + 1) * 127.5).astype(np.uint8)"
    if low >= 0 and high <= 255:
        return "np.rint(array).astype(np.uint8)" if dtype.kind == "f" else "array.astype(np.uint8)"
    if dtype == np.uint16 and high > 4095:
        return "(array // 257).astype(np.uint8), or divide by array.max() / 255"
    if low >= 0:
        return "np.rint(array * (255 / array.max())).astype(np.uint8)"
    return "np.rint(np.interp(array, (array.min(), array.max()), (0, 255))).astype(np.uint8)"


# --- the file -------------------------------------------------------------------------------


def _only_file(tree: FileTree) -> Path:
    found = tree.ending(SUFFIXES)
    if len(found) != 1:
        names = ", ".join(tree.name(file) for file in found[:5]) + ", ..." * (len(found) > 5)
        raise UsageError(f"{tree.root} holds {len(found)} arrays ({names}); give one of them")
    return found[0]


def _load(path: Path, limits: Limits | None = None) -> NDArray[Any]:
    """Return the array in `path`, memory-mapped if it is .npy.

    Args:
        path: The file.
        limits: What is allowed; None: it was checked before.
    """
    try:
        if limits:
            _check_promise(path, limits)
        return _load_once(path, path.stat().st_mtime_ns)
    except UsageError:
        raise
    except Broken as problem:
        raise UsageError(f"{path}: {problem}; or save the array with np.save") from None
    except MemoryError:
        raise UsageError(
            f"{path} does not fit into memory; save the array with np.save: .npy files are read "
            "from the disk piece by piece"
        ) from None
    except Exception as error:  # zipfile, zlib and the header's parser raise anything on garbage
        text = str(error).split("\n")[0][:200]
        raise UsageError(f"{path} is not a plain NumPy array: {text}") from None


@functools.lru_cache(maxsize=1)  # an .npz is decompressed whole: once a process, not once a clip
def _load_once(path: Path, changed: int) -> NDArray[Any]:
    loaded: Any = np.load(path, mmap_mode="r", allow_pickle=False)
    if isinstance(loaded, np.lib.npyio.NpzFile):
        with loaded:
            loaded = loaded[loaded.files[0]]
    array: NDArray[Any] = loaded
    return array


def _check_promise(path: Path, limits: Limits) -> None:
    """Raise UsageError or Broken if what the headers promise cannot be read within the limits."""
    with path.open("rb") as file:
        start = file.read(_HEADER)
        if not start.startswith(b"PK"):
            shape, _ = _promise(start)
        else:
            with zipfile.ZipFile(_Contents(file)) as archive:
                member = _only_member(archive, path)
                shape, dtype = _promise(archive.open(member).read(_HEADER))
            limits.check_bytes(math.prod(shape) * dtype.itemsize)
    if shape and shape[0] > _MOST_ROWS:
        raise UsageError(
            f"{path} has {shape[0]:,} rows; save it in parts of at most {_MOST_ROWS:,}"
        )


class _Contents:
    """A file for zipfile, which reads a table of contents at once, however long it says it is."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        if size > _MOST_CONTENTS:
            raise Broken(f"its table of contents has {size:,} bytes, for one array")
        return self._file.read(min(size, _MOST_CONTENTS) if size >= 0 else _MOST_CONTENTS)


def _promise(start: bytes) -> tuple[Shape, "np.dtype[Any]"]:
    """Return shape and type by the first bytes of an .npy file."""
    file = io.BytesIO(start)
    is_first = np.lib.format.read_magic(file) == (1, 0)
    form = np.lib.format
    read = form.read_array_header_1_0 if is_first else form.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def _only_member(archive: zipfile.ZipFile, path: Path) -> zipfile.ZipInfo:
    members = archive.infolist()
    if len(members) != 1:
        names = ", ".join(member.filename.removesuffix(".npy")[:40] for member in members[:5])
        raise UsageError(
            f"{path} holds {len(members)} arrays ({names}); save the one you mean with np.save"
        )
    if members[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # zipfile reads the others without a bound.
        raise UsageError(f"{path} is packed as NumPy does not pack; save it with np.save")
    return members[0]
