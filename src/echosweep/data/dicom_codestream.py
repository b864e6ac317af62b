"""Which decoder reads the compressed frames of a file, and whether a frame has the stated size.

GDCM ends its whole process on many damaged frames, and CharLS (pyjpegls) can go on for ever, so
each is used only for what nothing else decodes. Invariant: a frame whose own header states another
size than the file reaches no decoder.
"""

from collections.abc import Sequence

from echosweep.data.source import Broken

_JPEG = "1.2.840.10008.1.2.4."
_SAFE = ("pillow", "pylibjpeg")
_LOSSLESS_JPEG, _JPEG_LS = (f"{_JPEG}57", f"{_JPEG}70"), (f"{_JPEG}80", f"{_JPEG}81")
_GDCM_CANNOT = (6, 7)  # bits of JPEG-LS
_START_OF_FRAME = {0xF7, *range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN = 0xDA
_WRAPPED = 1 << 12  # bytes


def plugins(syntax: str, available: Sequence[str], stored: int) -> list[str]:
    """Return the decoders to try, in order: "" stands for the choice of pydicom.

    Args:
        syntax: the transfer syntax.
        available: the names of the decoders that are installed for it.
        stored: BitsStored.
    """
    if syntax in _JPEG_LS:
        first = "pyjpegls" if stored in _GDCM_CANNOT else "gdcm"
        return [first] if first in available else [""]
    safe = [name for name in _SAFE if name in available]
    return safe if safe and syntax not in _LOSSLESS_JPEG else [""]


def check_size(frame: bytes, rows: int, columns: int, samples: int) -> None:
    """Raise Broken if a compressed frame states another size than its file.

    Args:
        frame: the bytes of one frame; what is no JPEG, JPEG-LS or JPEG 2000 stream passes.
        rows: the height that the file states.
        columns: the width that the file states.
        samples: how many samples a pixel has, as the file states it.
    """
    begin = frame.find(b"\xff\x4f\xff\x51", 0, _WRAPPED)  # within the boxes of a JP2, or at once
    size = _jpeg_size(frame) if begin < 0 else _jpeg_2000_size(frame[begin : begin + 64])
    if size is not None and size != (rows, columns, samples):
        found, stated = (f"{w}x{h}, {n} samples" for h, w, n in (size, (rows, columns, samples)))
        raise Broken(f"a frame of {found} in a file of {stated}")


def _jpeg_2000_size(frame: bytes) -> tuple[int, int, int]:
    """Return height, width and samples from the marker SIZ (ISO 15444-1 A.5.1)."""
    right, bottom, left, top = (int.from_bytes(frame[at : at + 4]) for at in (8, 12, 16, 20))
    return bottom - top, right - left, int.from_bytes(frame[40:42])


def _jpeg_size(frame: bytes) -> tuple[int, int, int] | None:
    """Return height, width and samples from the frame header (ISO 10918-1 B.2.2), None if none."""
    place = 2 if frame[:2] == b"\xff\xd8" else len(frame)
    while place + 10 <= len(frame) and frame[place] == 0xFF:
        marker = frame[place + 1]
        if marker in _START_OF_FRAME:
            height, width = (int.from_bytes(frame[place + at : place + at + 2]) for at in (5, 7))
            return height, width, frame[place + 9]
        if marker == _START_OF_SCAN:
            return None
        filled = marker == 0xFF
        place += 1 if filled else 2 + int.from_bytes(frame[place + 2 : place + 4])
    return None
