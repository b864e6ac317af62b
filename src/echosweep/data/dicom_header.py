"""Find DICOM files and read their headers, whatever is odd in them.

A file is known by its name, by the mark "DICM" at byte 128 or by a first element that is plausible;
without the file meta information, pydicom finds the encoding out (PS3.10). Invariant: no value
stops the reading of a file before somebody needs that value, and no reason repeats a value that
occurs in the name or the identifiers of the patient.
"""

import io
import math
import re
import warnings
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from echosweep.data.source import Broken
from echosweep.errors import UsageError

_SUFFIXES = (".dcm", ".dicom", ".ima", ".dic")
_OTHERS = {
    *(".avi", ".mp4", ".mov", ".mpeg", ".mpg", ".mkv", ".gif", ".webm", ".m4v", ".wmv"),
    *(".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".npy", ".npz", ".h5", ".mat"),
    *(".nii", ".mhd", ".mha", ".raw", ".zraw", ".cfg"),
    *(".csv", ".tsv", ".txt", ".json", ".xml", ".html", ".htm", ".md", ".pdf", ".xlsx", ".py"),
    *(".zip", ".gz", ".tar", ".exe", ".dll", ".log", ".ini", ".inf", ".db", ".yaml", ".yml"),
}
_FIRST = {0x0002: (0x0000, 0x0001, 0x0002), 0x0008: (0x0000, 0x0001, 0x0005, 0x0008, 0x0016)}
IMAGE = (
    *("SOPClassUID", "SOPInstanceUID", "ImageType", "Modality", "Rows", "Columns"),
    *("NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PatientName", "PatientID"),
)
"""The attributes that both listing and decoding need."""
DIRECTORY = "1.2.840.10008.1.3.10"
"""The SOP class of a DICOMDIR."""
_TELLING = ("SOPClassUID", "SOPInstanceUID", "Rows")
_IDENTITY = ("PatientName", "PatientID")
_TELLTALE = 4  # letters by which a name is known within a longer word
_SHOWN = 24  # characters of a value in a reason
_LONGEST = 1 << 24  # bytes of an element before the pixel data
_CHUNK = 1 << 20
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_EXPLICIT = b"1.2.840.10008.1.2.1".ljust(len(_DEFLATED), b"\0")


def load_pydicom() -> Any:
    """Return the package pydicom; raise UsageError with the fix if it is not installed."""
    try:
        import pydicom
        import pydicom.pixels
    except ImportError:
        raise UsageError(
            'DICOM needs pydicom; install it with pip install "echosweep[dicom]"'
        ) from None
    warnings.filterwarnings("ignore", module="pydicom")  # damage is noted once, as an exclusion
    return pydicom


def is_dicom(file: Path) -> bool:
    """Say whether a file is DICOM by its name, else by its first bytes.

    Args:
        file: it is opened only if its name does not tell; UIDs as names end in a number.
    """
    suffix = file.suffix.lower()
    if suffix in _SUFFIXES or suffix in _OTHERS:
        return suffix in _SUFFIXES
    try:
        with file.open("rb") as opened:
            head = opened.read(132)
    except OSError:
        return False
    return head[128:] == b"DICM" or _begins_with_element(head)


def _begins_with_element(head: bytes) -> bool:
    """Say whether the bytes begin with an element that begins data sets, in any encoding."""
    if len(head) < 16:
        return False
    order: Any = "little" if head[1] == 0 else "big"
    tag = int.from_bytes(head[:2], order), int.from_bytes(head[2:4], order)
    if tag[1] not in _FIRST.get(tag[0], ()):
        return False
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    length = int.from_bytes(head[6:8] if explicit else head[4:8], order)
    following = int.from_bytes(head[8 + length : 10 + length], order)
    return length <= 64 and (head[4:6] == b"OB" or following in (2, 8))


class _Inflates(Exception):
    """The rest of the file is deflated."""


class _Bounded:
    """A file for pydicom, which reads as many bytes as a header says, all before it looks at them.

    Only to inflate the rest of a file does pydicom read without saying how much.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell
        self._size = file.seek(0, 2)
        file.seek(0)

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            raise _Inflates
        there = min(size, max(0, self._size - self.tell()))
        if there > _LONGEST:
            raise Broken(f"its header has an element of {there / 1e6:,.0f} MB")
        return self._file.read(there)


def read_header(file: BinaryIO, keywords: tuple[str, ...], most: int) -> tuple[Any, BinaryIO]:
    """Return the data set of `file` up to its pixel data, and the file that has these there.

    That is `file`, or if it is deflated one in memory that is not.

    Args:
        file: an open DICOM file at its start, with or without preamble and meta information.
        keywords: the attributes to read; others, such as large private ones, are skipped.
        most: how many bytes are inflated at most; what comes then is cut off.

    Raises:
        Broken: nothing in it looks like a DICOM data set.
    """
    dcmread, tags = load_pydicom().dcmread, list(keywords)
    try:
        data = dcmread(_Bounded(file), stop_before_pixels=True, force=True, specific_tags=tags)
    except _Inflates:
        if isinstance(file, io.BytesIO):
            raise Broken("the header is damaged: its transfer syntax has two values") from None
        return read_header(_inflated(file, most), keywords, most)
    except Broken:
        raise
    except Exception as error:  # pydicom raises anything on garbage
        file.seek(128)
        if file.read(4) != b"DICM":
            raise Broken("not a DICOM file") from None
        raise Broken(f"the header is cut off or damaged: {type(error).__name__}") from None
    stored = str(data.file_meta.get("MediaStorageSOPClassUID") or "")
    if stored == DIRECTORY or any(keyword in data for keyword in _TELLING):
        return data, file
    raise Broken("no image: the header is cut off or empty" if stored else "not a DICOM file")


def _inflated(file: BinaryIO, most: int) -> BinaryIO:
    """Return a file in memory, not deflated, of a file that stands where its deflated part begins.

    Args:
        file: an open file.
        most: how many bytes are inflated at most.
    """
    begin = file.tell()
    file.seek(0)
    whole = io.BytesIO()
    whole.write(file.read(begin).replace(_DEFLATED, _EXPLICIT))
    inflate, packed = zlib.decompressobj(-zlib.MAX_WBITS), b""
    while (left := begin + most - whole.tell()) > 0 and (packed := packed or file.read(_CHUNK)):
        whole.write(inflate.decompress(packed, min(left, _CHUNK)))
        packed = inflate.unconsumed_tail
        if inflate.eof:
            break
    whole.seek(0)
    return whole


def text(data: Any, keyword: str) -> str:
    """Return an attribute as text without the blanks and NULs that pad it; "" if it has none."""
    try:
        value = data.get(keyword)
    except Exception:  # a value that has not the form of its kind
        return ""
    if value is None:
        return ""
    several = isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue"
    return "\\".join(str(each) for each in value) if several else str(value).strip(" \0\t\r\n")


def number(data: Any, keyword: str) -> float | None:
    """Return an attribute, or the first of its values, as a finite number; None if it is none."""
    try:
        value = float(text(data, keyword).split("\\")[0])
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def whole(data: Any, keyword: str, least: int, most: int, default: int | None = None) -> int:
    """Return an attribute as a whole number.

    Args:
        data: a data set.
        keyword: the name of the attribute.
        least: the smallest number that makes sense.
        most: the largest number that makes sense.
        default: what an attribute without a value means; None: it needs one.

    Raises:
        Broken: the value is missing, no whole number, or too small or too large.
    """
    written = _written(data, keyword)
    if not written and default is not None:
        return default
    if not written:
        raise Broken(f"{keyword} is missing")
    try:
        value = float(text(data, keyword))
    except ValueError:
        value = least - 0.5
    if not (least <= value <= most and value == int(value)):
        shown = shown_value(data, written)
        raise Broken(f"{keyword} is {shown}, not a whole number from {least} to {most}")
    return int(value)


def shown_value(data: Any, value: str) -> str:
    """Return a value for a reason: short, printable, and nothing that names the patient."""
    value = "".join(each if each.isprintable() else "?" for each in value[:_SHOWN])
    return "a value that is not shown" if names_patient(data, value) else repr(value)


def names_patient(data: Any, value: str) -> bool:
    """Say whether a value has a part of the patient's name or identifier in it."""
    identity = " ".join(text(data, keyword) for keyword in _IDENTITY).lower()
    names = set(re.findall(r"[^\W_]{2,}", identity))
    words = set(re.findall(r"[^\W_]+", value.lower()))
    return bool(names & words) or any(
        len(name) >= _TELLTALE and name in value.lower() for name in names
    )


def _written(data: Any, keyword: str) -> str:
    """Return the value of an attribute as it stands in the file, "" if there is none."""
    if shown := text(data, keyword):
        return shown
    try:
        raw = data.get_item(keyword)
    except Exception:
        return "?"
    value = getattr(raw, "value", None)
    if isinstance(value, bytes):
        return value.decode("latin-1").strip(" \0")
    return "" if value is None else str(value).strip()
