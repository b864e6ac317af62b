"""Where the frames of a DICOM file lie, so that each is read on its own.

Pixel data are native (all frames in a row) or encapsulated (fragments, one or more a frame, PS3.5
A.4), or the fragments are one video. What the bytes show wins over what the transfer syntax says.
Invariant: a frame is whole or is not counted.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any, BinaryIO, NamedTuple

from echosweep.data.dicom_header import load_pydicom
from echosweep.data.source import Broken

_ITEM = b"\xfe\xff\x00\xe0"
_PIXEL_DATA = (0x7FE0, 0x0010)
_UNDEFINED = 0xFFFFFFFF
_MOST_FRAGMENTS = 1_000_000
_LONG = (b"OB", b"OW", b"UN", b"OL", b"OV")
_IMPLICIT, _EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_JPEG = "1.2.840.10008.1.2.4."
VIDEOS = {f"{_JPEG}{number}" for number in range(100, 109)} | {
    f"{_JPEG}{number}.1" for number in range(100, 107)
}
"""Transfer syntaxes whose fragments are one stream of MPEG-2, H.264 or HEVC."""
_RLE = "1.2.840.10008.1.2.5"
_JPEG_PROCESSES = {0xC0: "50", 0xC1: "51", 0xC2: "51", 0xC3: "70", 0xF7: "80"}


class Payload(NamedTuple):
    """The pixel data of a file.

    Attributes:
        file: where they are read from.
        start: the position of their first byte.
        length: how many bytes of them there are.
        encapsulated: whether they are fragments.
        vr: their value representation.
        syntax: the transfer syntax by which they are decoded.
    """

    file: BinaryIO
    start: int
    length: int
    encapsulated: bool
    vr: str
    syntax: str

    def fragments(self) -> Iterator[tuple[int, int]]:
        """Yield position and length of each whole fragment, except the table of offsets.

        Raises:
            Broken: there are too many: each takes memory, and it may be empty.
        """
        place, end, is_table, count = self.start, self.start + self.length, True, 0
        while place + 8 <= end:
            count += 1
            if count > _MOST_FRAGMENTS:
                raise Broken(f"its pixel data are in more than {_MOST_FRAGMENTS:,} fragments")
            self.file.seek(place)
            head = self.file.read(8)
            length = int.from_bytes(head[4:], "little")
            if head[:4] != _ITEM or place + 8 + length > end:
                return
            if not is_table:
                yield place + 8, length
            is_table = False
            place += 8 + length

    def read(self, place: int, length: int) -> bytes:
        """Return `length` bytes of the file."""
        self.file.seek(place)
        return self.file.read(length)

    def count(self, frame_bytes: int) -> int:
        """Return how many frames there are, where nothing says it: one a fragment.

        Args:
            frame_bytes: the size of a native frame.
        """
        if self.encapsulated:
            return sum(1 for _ in self.fragments())
        return self.length // frame_bytes

    def frames(self, count: int, every: int, frame_bytes: int) -> Iterator[tuple[int, bytes]]:
        """Yield number and bytes of frames 0, every, 2 every, ...

        Args:
            count: how many frames there should be.
            every: one frame in how many is read.
            frame_bytes: the size of a native frame.

        Raises:
            Broken: there are fewer frames.
        """
        if self.encapsulated:
            yield from self._encapsulated(count, every)
            return
        _check(self.length // frame_bytes, count)
        for number in range(0, count, every):
            # Big endian words swap the last byte of an odd frame with the one after it.
            yield (
                number,
                self.read(self.start + number * frame_bytes, frame_bytes + frame_bytes % 2),
            )

    def _encapsulated(self, count: int, every: int) -> Iterator[tuple[int, bytes]]:
        found = list(self.fragments())
        _check(len(found), count)
        if len(found) == count:
            for number in range(0, count, every):
                yield number, self.read(*found[number])
            return
        generate_frames = load_pydicom().encaps.generate_frames
        self.file.seek(self.start)
        frames = generate_frames(self.file, number_of_frames=count)
        number = -1
        for number, frame in enumerate(islice(frames, count)):
            if number % every == 0:
                yield number, frame
        _check(number + 1, count)


def find_payload(file: BinaryIO, data: Any) -> Payload:
    """Return the pixel data of `file`.

    Args:
        file: an open file at its pixel data element, where `read_header` leaves it.
        data: the header that was read.

    Raises:
        Broken: there are none, or they are of a kind that is not read.
    """
    meta = getattr(data, "file_meta", None)
    syntax = str(meta.get("TransferSyntaxUID") or "") if meta else ""
    start = file.tell()
    size = file.seek(0, 2)
    file.seek(start)
    is_little = data.original_encoding[1]
    head = file.read(12)
    order: Any = "little" if is_little is not False else "big"
    tag = tuple(int.from_bytes(head[at : at + 2], order) for at in (0, 2))
    if len(head) < 8:
        raise Broken("truncated: the file ends before its pixel data")
    if tag != _PIXEL_DATA:
        raise Broken("floating-point pixel data are not read")
    is_long = head[4:6] in _LONG  # read as a length, each would be odd, which no length is
    stated = int.from_bytes(head[8:12] if is_long else head[4:8], order)
    start += 12 if is_long else 8
    there = min(stated, size - start)
    file.seek(start)
    encapsulated = stated == _UNDEFINED or file.read(4) == _ITEM
    vr = head[4:6].decode("ascii") if is_long else "OW"
    payload = Payload(file, start, there, encapsulated, vr, syntax)
    return payload._replace(syntax=_decided_syntax(payload, is_little is not False))


def _decided_syntax(payload: Payload, is_little: bool) -> str:
    """Return the stated transfer syntax, or what the bytes show where that cannot be right."""
    known = load_pydicom().uid
    stated, native = payload.syntax, (_IMPLICIT, _EXPLICIT, _BIG_ENDIAN)
    if not payload.encapsulated:
        if stated in native:
            return stated
        return _EXPLICIT if is_little else _BIG_ENDIAN
    if stated in native or not stated or known.UID(stated).is_private:
        first = next(payload.fragments(), (payload.start, 0))
        return _seen_syntax(payload.read(first[0], min(first[1], 1 << 16)))
    return stated


def _seen_syntax(head: bytes) -> str:
    """Return the transfer syntax that fits the first bytes of a fragment."""
    if head[:4] == b"\xff\x4f\xff\x51":
        high_throughput = b"\xff\x50" in head[:128]
        return f"{_JPEG}{203 if high_throughput else 91}"
    if head[:3] in (b"\0\0\1", b"\0\0\0") and head[:8] != bytes(8):
        return f"{_JPEG}102"
    place = 2
    while head[:2] == b"\xff\xd8" and place + 4 <= len(head) and head[place] == 0xFF:
        if head[place + 1] in _JPEG_PROCESSES:
            return _JPEG + _JPEG_PROCESSES[head[place + 1]]
        place += 2 + int.from_bytes(head[place + 2 : place + 4], "big")
    return _RLE


def _check(there: int, count: int) -> None:
    if there < count:
        raise Broken(f"truncated: {there} of {count} frames")
