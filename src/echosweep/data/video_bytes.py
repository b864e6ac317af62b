"""Find out whether a video file lacks its end or is damaged, from what its own headers state.

AVI, MP4, MOV, Matroska, WebM and ASF state how long they and their parts are, and a GIF ends in a
trailer. MPEG streams, and files whose writer could not go back to fill in a size, state nothing.
The parts of Matroska, WebM and GIF lie end to end, each with its kind: a decoder that meets another
kind looks for the next part and leaves frames out, so they are walked here and counted.
Invariant: a file is called short only if one of its own headers points beyond its end, and damaged
only where a part begins with a kind that there is not.
"""

import os
import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from echosweep.data.source import Broken

_EBML, _SEGMENT, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
_BLOCK_GROUP, _SIMPLE_BLOCK = 0xA0, 0xA3
_IN_SEGMENT = {
    *(0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367),
    *(_CLUSTER, _BLOCK_GROUP, _SIMPLE_BLOCK, 0xE7, 0xA7, 0xAB, 0xAF, 0x5854, 0xEC, 0xBF),
}
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_BOXES = {
    *(b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide"),
    *(b"sidx", b"ssix", b"mfra", b"meta", b"udta", b"uuid", b"pnot", b"prft", b"emsg"),
}


_NO_HEADERS = (b"mdat", b"free", b"skip", b"wide")
_LISTS = re.compile(rb"stsz|stz2|trun|cmov")  # FFmpeg takes memory by what these say
_BLOCK = 1 << 20


class Stated(NamedTuple):
    """What the headers of a file say.

    Attributes:
        bytes: how many bytes it has at least; 0 if they do not say.
        frames: how many frames; 0 if they do not say.
        damaged: where a part begins that is none; None if all are.
    """

    bytes: int
    frames: int = 0
    damaged: int | None = None


def stated(file: BinaryIO) -> Stated:
    """Return what the headers of `file` say of its length.

    Args:
        file: a video file that can seek; it is left at its start.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(16)
    if head[:4] == b"RIFF":
        said = Stated(8 + int.from_bytes(head[4:8], "little"))
    elif head[:6] in (b"GIF87a", b"GIF89a"):
        said = _gif(file, size)
    elif head == _ASF_HEADER:
        said = Stated(_asf_bytes(file))
    elif head[:4] == _EBML.to_bytes(4, "big"):
        said = _ebml(file, size)
    else:
        said = Stated(_box_bytes(file, size))
    file.seek(0)
    return said


def listed_samples(file: BinaryIO, size: int) -> int:
    """Return how many samples (frames, pieces of sound) an MP4 or MOV lists; 0 for other files.

    The lists are looked for as bytes, as FFmpeg reads them wherever in the header they lie.

    Args:
        file: it can seek, and is left at its start.
        size: how many bytes it has.

    Raises:
        Broken: the header is compressed.
    """
    samples = 0
    for start, end in _headers(file, size):
        for block in _blocks(file, start, end):
            for found in _LISTS.finditer(block):
                if found.start() >= _BLOCK:  # the next block begins with it
                    break
                if found[0] == b"cmov":
                    raise Broken(
                        "its header is compressed; write it anew: ffmpeg -i OLD -c copy NEW"
                    )
                at = found.end() + (4 if found[0] == b"trun" else 8)
                samples += int.from_bytes(block[at : at + 4], "big")
    file.seek(0)
    return samples


def _headers(file: BinaryIO, size: int) -> Iterator[tuple[int, int]]:
    """Yield where the boxes of an MP4 or MOV begin and end, except those of frames and padding."""
    start = 0
    while start < size:
        file.seek(start)
        head = file.read(16)
        kind, length = head[4:8], int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        end = start + length if length else size
        if len(head) < 8 or end - start < 8 or (end > size and kind not in _BOXES):
            return
        if kind not in _NO_HEADERS:
            yield start, min(end, size)
        start = end


def _blocks(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    """Yield the bytes from `start` to `end`; the last ones of a block also begin the next."""
    for place in range(start, end, _BLOCK):
        file.seek(place)
        yield file.read(min(_BLOCK + 15, end - place))


def _gif(file: BinaryIO, size: int) -> Stated:
    """Walk a GIF up to its trailer; without one it has at least a byte more than `size`."""
    file.seek(10)
    flags = file.read(1)
    end, images = 13 + _palette_bytes(flags), 0
    while end < size:
        file.seek(end)
        kind = file.read(1)
        if kind == b";":
            return Stated(end + 1, images)
        if kind == b"\0":  # decoders pass over it
            end += 1
            continue
        if kind == b",":  # an image: its box, its palette, the size of its codes
            images += 1
            end += 11 + _palette_bytes(file.read(9)[8:])
        elif kind == b"!":  # an extension: its label
            end += 2
        else:
            return Stated(0, 0, end)
        file.seek(end)
        while length := file.read(1):
            end += 1 + length[0]
            if not length[0]:
                break
            file.seek(length[0], os.SEEK_CUR)
    return Stated(max(end, size) + 1)


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


def _ebml(file: BinaryIO, size: int) -> Stated:
    """Walk the elements of a Matroska file, and those within its segment and clusters.

    An element of unknown size is followed by those within it, so all are walked as one row.
    """
    end = frames = segment = 0
    while end < size:
        file.seek(end)
        head = file.read(12)
        kind, kind_length = _vint(head, keep_marker=True)
        length, length_length = _vint(head[kind_length:], keep_marker=False)
        if len(head) < 12 and not (kind_length and length_length):
            return Stated(size + 1)  # cut within the head of an element
        if not (kind_length and length_length) or (end < segment and kind not in _IN_SEGMENT):
            known = end >= segment or _is_empty(file, end)
            return Stated(max(end, segment), 0 if known else frames, None if known else end)
        unknown = length == (1 << 7 * length_length) - 1
        end += kind_length + length_length
        if kind == _SEGMENT:
            segment = size if unknown else end + length
        elif kind != _CLUSTER:
            if unknown:
                return Stated(0)
            end += length
            frames += kind in (_BLOCK_GROUP, _SIMPLE_BLOCK)
    return Stated(max(end, segment), frames)


def _is_empty(file: BinaryIO, start: int) -> bool:
    file.seek(start)
    return not file.read(1 << 16).strip(b"\0")


def _vint(data: bytes, keep_marker: bool) -> tuple[int, int]:
    """Return the number that `data` begins with and how many bytes it takes; 0 bytes if none."""
    length = 9 - data[0].bit_length() if data and data[0] else 0
    if not 0 < length <= len(data):
        return 0, 0
    number = int.from_bytes(data[:length], "big")
    return number if keep_marker else number & ((1 << 7 * length) - 1), length
