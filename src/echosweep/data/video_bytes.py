"""Find out whether the end of a video file is missing, from the sizes that its own headers state.

AVI, MP4, MOV, Matroska, WebM and ASF state how long they and their parts are, and a GIF ends in a
trailer. MPEG streams, and files whose writer could not go back to fill in a size, state nothing.
Invariant: a file is called short only if one of its own headers points beyond its end.
"""

import os
from typing import BinaryIO

_EBML, _SEGMENT, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_BOXES = {
    *(b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide"),
    *(b"sidx", b"ssix", b"mfra", b"meta", b"udta", b"uuid", b"pnot", b"prft", b"emsg"),
}


def stated_bytes(file: BinaryIO) -> int:
    """Return how many bytes the headers of `file` say that it has, 0 if they do not say.

    Args:
        file: a video file that can seek; it is left at its start.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(16)
    if head[:4] == b"RIFF":
        stated = 8 + int.from_bytes(head[4:8], "little")
    elif head[:6] in (b"GIF87a", b"GIF89a"):
        stated = _gif_bytes(file, size)
    elif head == _ASF_HEADER:
        stated = _asf_bytes(file)
    elif head[:4] == _EBML.to_bytes(4, "big"):
        stated = _ebml_bytes(file, size)
    else:
        stated = _box_bytes(file, size)
    file.seek(0)
    return stated


def _gif_bytes(file: BinaryIO, size: int) -> int:
    """Return where the GIF's trailer ends; at least a byte more than `size` without one."""
    file.seek(10)
    flags = file.read(1)
    end = 13 + _palette_bytes(flags)
    while end < size:
        file.seek(end)
        kind = file.read(1)
        if kind == b";":
            return end + 1
        if kind == b",":  # an image: its box, its palette, the size of its codes
            end += 11 + _palette_bytes(file.read(9)[8:])
        elif kind == b"!":  # an extension: its label
            end += 2
        else:
            return 0
        file.seek(end)
        while length := file.read(1):
            end += 1 + length[0]
            if not length[0]:
                break
            file.seek(length[0], os.SEEK_CUR)
    return max(end, size) + 1


def _palette_bytes(flags: bytes) -> int:
    return 6 << (flags[0] & 7) if flags and flags[0] & 128 else 0


def _asf_bytes(file: BinaryIO) -> int:
    file.seek(0)
    head = file.read(1 << 16)
    start = head.find(_ASF_FILE_PROPERTIES)
    live = start < 0 or head[start + 88 : start + 89] in (b"", b"\1", b"\3")
    return 0 if live else int.from_bytes(head[start + 40 : start + 48], "little")


def _box_bytes(file: BinaryIO, size: int) -> int:
    """Return where the last box of an MP4 or MOV ends; stop at what is not a box."""
    end = 0
    while end < size:
        file.seek(end)
        head = file.read(16)
        if len(head) < 8 or head[4:8] not in _BOXES:
            break
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        if length < 8:  # 0: the box ends with the file
            return size if length == 0 else 0
        end += length
    return end


def _ebml_bytes(file: BinaryIO, size: int) -> int:
    """Return where the last element of a Matroska file ends; look into those of unknown size."""
    end = 0
    while end < size:
        file.seek(end)
        kind, kind_length = _vint(file.read(8), keep_marker=True)
        file.seek(end + kind_length)
        length, length_length = _vint(file.read(8), keep_marker=False)
        if not (kind_length and length_length):
            break
        end += kind_length + length_length
        if length != (1 << 7 * length_length) - 1:
            end += length
        elif kind not in (_SEGMENT, _CLUSTER):
            return 0
    return end


def _vint(data: bytes, keep_marker: bool) -> tuple[int, int]:
    """Return the number that `data` begins with and how many bytes it takes; 0 bytes if none."""
    length = 9 - data[0].bit_length() if data and data[0] else 0
    if not 0 < length <= len(data):
        return 0, 0
    number = int.from_bytes(data[:length], "big")
    return number if keep_marker else number & ((1 << 7 * length) - 1), length
