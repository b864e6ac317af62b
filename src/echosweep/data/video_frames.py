"""Say which frame of a video stream is which: frame k is the k-th that a decoder shows.

Containers disagree about time: AVI and ASF store no time of display, others restart their clocks or
leave times out. So the frames that come out of the decoder are counted. Two short ways need not
decode every frame, and give the same numbers: where each packet is a frame by itself (Motion JPEG),
and where h264 lies in a container that stores the times of display, if what is decoded confirms
them. An AVI is a grid of chunks from the first filled one on, and an empty chunk shows the frame
before it once more.
Invariant: a kept frame has the number that decoding everything gives it, or the file is Broken.
"""

import itertools
from bisect import bisect, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from echosweep.data.limits import LIMITS, Limits
from echosweep.data.source import Broken

if TYPE_CHECKING:
    import av

    Packet = av.Packet[av.VideoStream]
    Numbered = tuple[int, av.VideoFrame]

_LOST = 0.02  # the share of frames that writers drop now and then: the file is not truncated
_HELD_BYTES = 1 << 26  # larger files are decoded whole, so that memory stays bounded
# A packet of these codecs is one frame, whatever was decoded before. FFmpeg's own flag is wider:
# it also holds codecs that need earlier packets (ffv1) or show nothing for some.
_ONE_PACKET_ONE_FRAME = {
    *("mjpeg", "ljpeg", "jpegls", "jpeg2000", "png", "rawvideo", "v210", "huffyuv", "ffvhuff"),
    *("utvideo", "magicyuv", "prores", "dnxhd", "dvvideo"),
}
_STORE_TIMES = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
_REF_IDC = 0x60  # the bits of a NAL unit's first byte that say whether other frames refer to it
_UNREFERENCED = (1, 6, 9, 12)  # NAL units: slice of a frame, supplement, delimiter, filler


class Unproven(Exception):
    """A short way met what it did not expect: every frame has to be decoded and counted."""


def kept_frames(
    container: "av.container.InputContainer",
    stream: "av.VideoStream",
    every: int,
    promised: int,
    whole: Callable[[], bool],
    short: bool,
    promised_by: str = "",
    limits: Limits = LIMITS,
) -> "Iterator[Numbered]":
    """Yield frames 0, every, 2 every, ... of `stream` in the order of display, with their numbers.

    Args:
        container: the open file of `stream`.
        stream: what to decode.
        every: one frame in how many is kept.
        promised: how many frames there should be; 0 if unknown.
        whole: says whether the file is known to have all its bytes; asked only if in doubt.
        short: whether to skip what the kept frames do not need, where that gives the same.
        promised_by: the table that promises; "" if the file does.
        limits: how many frames there may be, and what they may unfold to.

    Raises:
        Broken: the file is truncated or damaged, is beyond `limits`, or its frames cannot be
            numbered.
        Unproven: a short way failed; the frames so far are right. Open the file anew and decode
            it with `short` False.
    """
    avi, packets = container.format.name == "avi", _limited(container, stream, limits)
    held = _held(packets) if container.size <= _HELD_BYTES else []
    if (more := next(packets, None)) is not None:
        packets = _filled(itertools.chain(held, [more], packets), promised, avi, promised_by)
        yield from _counted(packets, stream, every, avi)
        return
    if not held:
        return _check_end(0, promised, by=promised_by)
    alone = stream.codec_context.codec.name in _ONE_PACKET_ONE_FRAME
    length = _slots(held, stream, whole) if avi else 0
    cut, count = held[-1].is_corrupt, length + (held[0].dts or 0) if length else len(held)
    _check_end(count, promised, cut and not (alone and promised and held[1:]), promised_by)
    if cut:  # no other frame needs the last one
        length -= length > 0
        held.pop()
    short &= not any(packet.is_discard for packet in held)
    if short and alone:
        yield from _on_grid(_single(held, stream, every, length), every, length)
    elif short and every > 1 and _knows_display_order(container, stream, held):
        yield from _referenced(held, stream, every)
    else:
        yield from _counted(held, stream, every, avi, length)


def _limited(
    container: "av.container.InputContainer", stream: "av.VideoStream", limits: Limits
) -> "Iterator[Packet]":
    """Yield the packets of a stream; raise Broken where they are too many, or too much.

    Packets can be compressed, and those of an MP4 can be the same bytes many times.
    """
    length = 0
    for number, packet in enumerate(container.demux(stream)):
        length += packet.size
        limits.check_frames(number // 2)  # a frame can be two packets
        limits.check_bytes(length - container.size)
        yield packet


def _held(packets: "Iterator[Packet]") -> "list[Packet]":
    """Take the packets that hold data, all of them if they are not too large together."""
    held, length = [], 0
    for packet in packets:
        if packet.size:
            held.append(packet)
            length += packet.size
        if length > _HELD_BYTES:
            break
    return held


def _filled(packets: "Iterable[Packet]", promised: int, avi: bool, by: str) -> "Iterator[Packet]":
    """Yield the packets that hold data; raise Broken at their end if it came too soon."""
    count, slot, cut = 0, None, False
    for packet in packets:
        if packet.size:  # an empty one would end the decoder
            yield packet
            count, slot, cut = count + 1, packet.dts, packet.is_corrupt
    _check_end(count if not avi or slot is None else slot + 1, promised, cut, by)


def _check_end(count: int, promised: int, cut: bool = False, by: str = "") -> None:
    if promised - count > max(1, _LOST * promised):
        if by:
            raise Broken(f"truncated: {count} of the {promised} frames that {by} promises")
        raise Broken(f"truncated: {count} of {promised} frames")
    if cut:
        raise Broken("truncated: the last packet is cut off")


def _slots(packets: "Sequence[Packet]", stream: "av.VideoStream", whole: Callable[[], bool]) -> int:
    """Return how many frames an AVI shows, empty chunks included; 0 if its chunks lack numbers."""
    slots = [packet.dts for packet in packets if packet.dts is not None]
    if not slots or len(slots) < len(packets) or any(a >= b for a, b in itertools.pairwise(slots)):
        return 0
    end = slots[-1] + 1
    if end < (stream.duration or 0) and whole():  # empty chunks at the end are no packets
        end = stream.duration or 0
    return end - slots[0]


def _single(
    packets: "Sequence[Packet]", stream: "av.VideoStream", every: int, length: int
) -> "Iterator[Numbered]":
    """Decode only the packets that are kept: each is a frame. length: of the grid, 0 if none."""
    numbers = list(range(len(packets)))
    if length:
        numbers = [(packet.dts or 0) - (packets[0].dts or 0) for packet in packets]
    ends = [*numbers[1:], length or len(packets)]
    for packet, number, end in zip(packets, numbers, ends, strict=True):
        if -number % every < end - number:  # a kept number lies in [number, end)
            frames = stream.codec_context.decode(packet)
            if len(frames) != 1:
                raise Unproven
            _check_intact(frames[0], number)
            yield number, frames[0]


def _knows_display_order(
    container: "av.container.InputContainer", stream: "av.VideoStream", packets: "Sequence[Packet]"
) -> bool:
    """Say whether the times in an h264 file order its frames as the decoder does.

    Each packet needs a time of its own, and the decoder needs room for the frames that wait: one
    with too little room leaves frames out.
    """
    context = stream.codec_context
    lengths_first = (context.extradata or b"")[:1] == b"\1"  # else start codes separate NAL units
    if context.codec.name != "h264" or not lengths_first:
        return False
    if container.format.name not in _STORE_TIMES:
        return False
    seen: list[int] = []
    waiting = 0
    for packet in packets:
        if packet.pts is None:
            return False
        place = bisect(seen, packet.pts)
        if place and seen[place - 1] == packet.pts:
            return False
        waiting = max(waiting, len(seen) - place)
        insort(seen, packet.pts)
    return waiting <= getattr(context, "reorder_depth", -1)


def _referenced(
    packets: "Sequence[Packet]", stream: "av.VideoStream", every: int
) -> "Iterator[Numbered]":
    """Decode the kept frames and those that others refer to; number them by their time."""
    ranks = {time: rank for rank, time in enumerate(sorted(packet.pts or 0 for packet in packets))}
    prefix = ((stream.codec_context.extradata or b"")[4] & 3) + 1
    fed = [
        packet
        for packet in packets
        if ranks[packet.pts or 0] % every == 0 or not _is_unreferenced(bytes(packet), prefix)
    ]
    expected = iter(sorted(packet.pts or 0 for packet in fed))
    for frame in _shown(fed, stream):
        if frame.pts is None or frame.pts != next(expected, None):
            raise Unproven
        number = ranks[frame.pts]
        _check_intact(frame, number)
        if number % every == 0:
            yield number, frame
    if next(expected, None) is not None:
        raise Unproven


def _is_unreferenced(data: bytes, prefix: int) -> bool:
    """Say whether nothing in an h264 packet is needed by others. prefix: bytes of a unit's size."""
    start = 0
    while start + prefix < len(data):
        header = data[start + prefix]
        if header & _REF_IDC or header & 31 not in _UNREFERENCED:
            return False
        start += prefix + int.from_bytes(data[start : start + prefix], "big")
    return start == len(data)


def _counted(
    packets: "Iterable[Packet]",
    stream: "av.VideoStream",
    every: int,
    avi: bool,
    length: int = 0,
) -> "Iterator[Numbered]":
    """Decode everything and count what the decoder shows."""
    shown = _chunks(packets, stream) if avi else enumerate(_shown(packets, stream))
    return _on_grid(_intact(shown), every, length)


def _chunks(packets: "Iterable[Packet]", stream: "av.VideoStream") -> "Iterator[Numbered]":
    """Number the frames of an AVI: by count, or by their chunks if some of these show none.

    Raises Broken where the two disagree: frames change their order, and a chunk is empty or shows
    no frame, so nobody knows which chunk shows which frame.
    """
    filled = shown = 0
    first = last = before = None
    ordered, grid = True, _keeps_order(stream)

    def numbered(packets: "Iterable[Packet]") -> "Iterator[Packet]":
        nonlocal filled, before, grid
        for packet in packets:
            grid |= before is not None and packet.dts is not None and packet.dts - before > 1
            before, packet.pts = packet.dts, packet.dts
            filled += 1
            yield packet

    for frame in _shown(numbered(packets), stream):
        slot = frame.pts
        ordered &= slot is not None and (last is None or slot > last)
        if grid and not ordered:
            raise Broken("chunks are empty and frames change their order: frames have no numbers")
        last, first = slot, slot if first is None else first
        yield (slot or 0) - (first or 0) if grid else shown, frame
        shown += 1
    if shown != filled and not grid:
        raise Broken(f"{filled} chunks show {shown} frames: which is which is unknown")


def _keeps_order(stream: "av.VideoStream") -> bool:
    """Say whether a decoder surely shows frames in the order of their chunks.

    Then a chunk that shows nothing ("not coded") repeats the frame before it. An h264 or HEVC
    decoder may find out later that frames change their order.
    """
    context = stream.codec_context
    later = context.codec.name in ("h264", "hevc")
    return not later and getattr(context, "reorder_depth", 1) == 0


def _shown(packets: "Iterable[Packet]", stream: "av.VideoStream") -> "Iterator[av.VideoFrame]":
    for packet in packets:
        yield from stream.codec_context.decode(packet)
    yield from stream.codec_context.decode(None)


def _intact(numbered: "Iterable[Numbered]") -> "Iterator[Numbered]":
    for number, frame in numbered:
        _check_intact(frame, number)
        yield number, frame


def _check_intact(frame: "av.VideoFrame", number: int) -> None:
    if frame.is_corrupt:
        raise Broken(f"damaged at frame {number}")


def _on_grid(numbered: "Iterable[Numbered]", every: int, length: int) -> "Iterator[Numbered]":
    """Yield what is on show at 0, every, 2 every, ...; the last frame stays up to `length`."""
    due, last = 0, None
    for number, frame in numbered:
        while due < number and last is not None:
            yield due, last
            due += every
        if due == number:
            yield due, frame
            due += every
        last = frame
    while due < length and last is not None:
        yield due, last
        due += every
