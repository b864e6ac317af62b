"""Volumes of pixels: NIfTI-1 (.nii, .nii.gz) and MetaImage (.mhd with a data file, .mha).

Both store x fastest, then y, then time: in C order that is (T, H, W), the rows of an image from its
top. Axes are not turned by the orientation in the header. Both formats are a short header before
plain numbers, so they are read here: common readers return a cut file with pixels made up.
Invariant: no file is opened but the one that is given, and its data file in the same folder, whose
name is in no message: it is a text within a file, and may be anybody's.
"""

import contextlib
import gzip
import math
import re
import struct
import zlib
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from echosweep import bounded
from echosweep.data.limits import LIMITS, Limits
from echosweep.data.source import Broken, Guard

SUFFIXES = (".nii.gz", ".nii", ".mhd", ".mha")
_MOST_BEFORE = 2**26  # bytes before the pixels
_CHUNK = 2**20  # bytes that are read at a time, as a header can promise more than there are
_MOST_AXES = 7
_HEADER = 2**16  # bytes before the pixels of a MetaImage
_USUAL_HEADER = 2**10
_META = (".mhd", ".mha")
_SQUARE = 0.02  # pixels whose sides differ by less count as square
_MOST_OBLONG = 8.0
_NIFTI_TYPES = {
    **{2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 128: "u1", 256: "i1"},
    **{512: "u2", 768: "u4", 1024: "i8", 1280: "u8"},
}
_NIFTI_RGB = 128
_META_TYPES = {
    **{"MET_UCHAR": "u1", "MET_CHAR": "i1", "MET_USHORT": "u2", "MET_SHORT": "i2"},
    **{"MET_UINT": "u4", "MET_INT": "i4", "MET_FLOAT": "f4", "MET_DOUBLE": "f8"},
}


class Volume(NamedTuple):
    """Pixels (T, H, W) or (T, H, W, 3), uint8; spacing: the distance of columns, and of rows."""

    pixels: NDArray[np.uint8]
    spacing: tuple[float, float]


class _Bytes(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Plan(NamedTuple):
    """What a header says: sizes x, y, ...; the type of a number; how many of them a pixel has."""

    sizes: list[int]
    dtype: "np.dtype[Any]"
    channels: int
    spacing: tuple[float, float]
    slope: float = 1.0
    intercept: float = 0.0


def read(path: Path, limits: Limits = LIMITS) -> Volume:
    """Return the pixels of a file.

    Args:
        path: It ends in one of SUFFIXES, in any case.
        limits: What it may unfold to.

    Raises:
        Broken: The file is cut or damaged, or its values are not integers from 0 to 255.
        OSError: The file cannot be opened.
    """
    try:
        reader = _read_meta if path.suffix.lower() in _META else _read_nifti
        return reader(path, limits)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise Broken(f"{path.name} is cut or damaged: {error}") from None


def data_file(path: Path) -> Path | None:
    """Return the other file that has the pixels of a MetaImage; None if there is none to read.

    Args:
        path: It ends in one of SUFFIXES. Of its header little is read, and no pixel.
    """
    if path.suffix.lower() not in _META:
        return None
    with Guard():
        with path.open("rb") as file:
            start = file.read(_USUAL_HEADER)
            if b"\n" not in start.partition(b"ElementDataFile")[2]:
                start += file.read(_HEADER - len(start))
        found, _ = _meta_data(*_meta_fields(start, path), path)
        return found if found != path and found.is_file() else None
    return None  # decoding says what is wrong with it


def squared(image: Image.Image, spacing: tuple[float, float]) -> Image.Image:
    """Return `image` with square pixels: the first CAMUS has columns twice as wide as rows high.

    The finer axis is made coarser, so that nothing is invented.

    Args:
        image: One frame.
        spacing: The distance of its columns, and of its rows.
    """
    across, down = spacing
    ratio = across / down if across > 0 and down > 0 else 1.0
    if not (1 / _MOST_OBLONG <= ratio <= _MOST_OBLONG and abs(ratio - 1) > _SQUARE):
        return image
    width, height = image.size
    size = (width, round(height / ratio)) if ratio > 1 else (round(width * ratio), height)
    return image.resize((max(1, size[0]), max(1, size[1])), Image.Resampling.LANCZOS)


# --- NIfTI ----------------------------------------------------------------------------------


def _read_nifti(path: Path, limits: Limits) -> Volume:
    with path.open("rb") as raw, _unpacking(raw) as file:
        header = file.read(348)
        plan, offset = _nifti_plan(header, path)
        size = _size(plan, path, limits)
        _skip(file, offset - len(header), path.name)
        data = _read_pixels(file, size, path.name)
        file.read(1)  # at its end, gzip compares the checksum
    return _volume(data, plan, path)


def _unpacking(raw: IO[bytes]) -> contextlib.AbstractContextManager[_Bytes]:
    packed = raw.read(2) == b"\x1f\x8b"
    raw.seek(0)
    return contextlib.closing(gzip.GzipFile(fileobj=raw)) if packed else contextlib.nullcontext(raw)


def _nifti_plan(header: bytes, path: Path) -> tuple[_Plan, int]:
    """Return what the 348 bytes of the header say, and where the pixels begin."""
    order: Literal["<", ">"] = "<" if header[:4] == struct.pack("<i", 348) else ">"
    mark = header[344:347]
    if header[:4] != struct.pack(f"{order}i", 348) or mark not in (b"n+1", b"ni1"):
        raise Broken(f"{path.name} is not a NIfTI-1 file")
    if mark == b"ni1":
        raise Broken(f"{path.name} has its pixels in an .img file; save both as one .nii")
    axes, *sizes = struct.unpack(f"{order}8h", header[40:56])
    code = struct.unpack(f"{order}h", header[70:72])[0]
    pixdim = struct.unpack(f"{order}8f", header[76:108])
    offset, slope, intercept = struct.unpack(f"{order}3f", header[108:120])
    if not 2 <= axes <= 7:
        raise Broken(f"{path.name} has {axes} axes; 2 or 3 can be read")
    if code not in _NIFTI_TYPES:
        raise Broken(f"{path.name} has pixels of NIfTI type {code}, not grey or RGB numbers")
    if not 348 <= offset < _MOST_BEFORE:  # false for NaN too
        raise Broken(f"{path.name} says that its pixels begin at byte {offset:g}")
    if slope == 0 or not math.isfinite(slope + intercept):  # by the standard: not scaled
        slope, intercept = 1.0, 0.0
    dtype = np.dtype(_NIFTI_TYPES[code]).newbyteorder(order)
    channels = 3 if code == _NIFTI_RGB else 1
    plan = _Plan(sizes[:axes], dtype, channels, (pixdim[1], pixdim[2]), slope, intercept)
    return plan, int(offset)


# --- MetaImage ------------------------------------------------------------------------------


def _read_meta(path: Path, limits: Limits) -> Volume:
    with path.open("rb") as file:
        start = file.read(_HEADER)
    fields, end = _meta_fields(start, path)
    plan = _meta_plan(fields, path)
    pixels, skipped = _meta_data(fields, end, path)
    what = path.name if pixels == path else f"the data file of {path.name}"
    size = _size(plan, path, limits)
    packed = fields.get("CompressedData", "").lower() == "true"
    try:
        with bounded.open_file(pixels) as file:
            _skip(file, skipped, what)
            data = (_unpacked if packed else _read_pixels)(file, size, what)
    except FileNotFoundError:
        raise Broken(f"{path.name}: its data file is missing") from None
    return _volume(data, plan, path)


def _meta_fields(start: bytes, path: Path) -> tuple[dict[str, str], int]:
    """Return the lines `Name = value` up to ElementDataFile, and where they end."""
    fields: dict[str, str] = {}
    end = 0
    for line in start.splitlines(keepends=True):
        end += len(line)
        name, equals, value = line.decode("latin-1").partition("=")
        if equals:
            fields[name.strip()] = value.strip()
        if equals and name.strip() == "ElementDataFile":
            return fields, end
    raise Broken(f"{path.name} is not a MetaImage header: no ElementDataFile in it")


def _meta_plan(fields: dict[str, str], path: Path) -> _Plan:
    sizes = [int(size) for size in re.findall(r"\d{1,9}", fields.get("DimSize", ""))]
    kind = fields.get("ElementType", "")
    if kind not in _META_TYPES:
        said = kind if re.fullmatch("MET_[A-Z_]{1,30}", kind) else "none that is known"
        raise Broken(f"{path.name} has ElementType {said}, not plain numbers")
    if fields.get("BinaryData", "True").lower() != "true":
        raise Broken(f"{path.name} has its pixels as text; save them as binary")
    order = fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False"))
    spacing = fields.get("ElementSpacing", fields.get("ElementSize", "")).split()
    try:
        across, down = (float(number) for number in spacing[:2])
    except ValueError:
        across = down = 1.0
    dtype = np.dtype(_META_TYPES[kind]).newbyteorder(">" if order.lower() == "true" else "<")
    channels = 3 if fields.get("ElementNumberOfChannels") == "3" else 1
    return _Plan(sizes, dtype, channels, (across, down))


def _meta_data(fields: dict[str, str], end: int, path: Path) -> tuple[Path, int]:
    """Return the file with the pixels, and how many bytes of it come before them."""
    name = fields["ElementDataFile"]
    if name == "LOCAL":
        return path, end
    if name.startswith("LIST") or "%" in name:
        raise Broken(f"{path.name}: its pixels are in several files; save them as one")
    if not name or name in (".", "..") or re.search(r"[/\\\0]", name):
        raise Broken(f"{path.name}: its data file is not in its folder")
    before = fields.get("HeaderSize", "0")
    if not before.isdecimal() or len(before) > 9 or int(before) > _MOST_BEFORE:
        raise Broken(
            f"{path.name} has a HeaderSize that is no number of 0 or more, up to {_MOST_BEFORE}"
        )
    return path.with_name(name), int(before)


def _unpacked(file: _Bytes, size: int, what: str) -> bytearray:
    unpacker, data, packed = zlib.decompressobj(), bytearray(), b""
    while len(data) < size and (packed := packed or file.read(_CHUNK)):
        data += unpacker.decompress(packed, min(size - len(data), _CHUNK))
        packed = unpacker.unconsumed_tail
        if unpacker.eof:
            break
    if len(data) < size:
        raise Broken(f"{what} is truncated: {len(data)} of {size} bytes")
    return data


# --- both -----------------------------------------------------------------------------------


def _skip(file: _Bytes, size: int, what: str) -> None:
    while size > 0:
        read = len(file.read(min(size, _CHUNK)))
        if not read:
            raise Broken(f"{what} is truncated before its pixels")
        size -= read


def _read_pixels(file: _Bytes, size: int, what: str) -> bytearray:
    data = bytearray()
    while part := file.read(min(size - len(data), _CHUNK)):
        data += part
    if len(data) < size:
        raise Broken(f"{what} is truncated: {len(data)} of {size} bytes")
    return data


def _size(plan: _Plan, path: Path, limits: Limits) -> int:
    """Return how many bytes the pixels have; raise Broken for no video, or for a too large one."""
    if len(plan.sizes) > _MOST_AXES:
        raise Broken(f"{path.name} has {len(plan.sizes)} axes; 2 or 3 can be read")
    if len(plan.sizes) < 2 or min(plan.sizes) < 1:
        raise Broken(
            f"{path.name} has the sizes {plan.sizes}; at least two are needed, of 1 or more"
        )
    if sum(size > 1 for size in plan.sizes[2:]) > 1:
        raise Broken(f"{path.name} has the sizes {plan.sizes}; only images over time can be read")
    limits.check_size(*plan.sizes[:2])
    limits.check_frames(math.prod(plan.sizes[2:]))
    numbers = math.prod(plan.sizes) * plan.channels
    is_scaled = (plan.slope, plan.intercept) != (1.0, 0.0)  # which makes floats of 8 bytes of them
    limits.check_bytes(numbers * (8 if is_scaled else plan.dtype.itemsize))
    return numbers * plan.dtype.itemsize


def _volume(data: bytearray, plan: _Plan, path: Path) -> Volume:
    width, height = plan.sizes[:2]
    colour = (3,) if plan.channels == 3 else ()
    values = np.frombuffer(data, plan.dtype).reshape(-1, height, width, *colour)
    with np.errstate(all="ignore"):  # what overflows is no value from 0 to 255
        if (plan.slope, plan.intercept) != (1.0, 0.0):
            values = values * plan.slope + plan.intercept
        return Volume(_as_bytes(values, path), plan.spacing)


def _as_bytes(values: NDArray[Any], path: Path) -> NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return values
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 255 and (values == np.rint(values)).all()):  # false for NaN too
        raise Broken(
            f"{path.name} has values from {low:g} to {high:g} ({values.dtype}); integers from 0 to "
            "255 are needed: scale them and save them as uint8"
        )
    return values.astype(np.uint8)
