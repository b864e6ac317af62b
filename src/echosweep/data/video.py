"""Decode video files with PyAV: the luma plane as the codec stores it, no colour conversion.

Only what the kept frames need is decoded: h264 and MPEG-2 frames that no other refers to, and all
other frames of intra-only codecs, are skipped. Invariant: frame numbers count frames in display
order, so `every` picks the same frames whatever the codec.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from echosweep.data.source import Broken, Frame

if TYPE_CHECKING:
    import av

    Packet = av.Packet[av.VideoStream]
    Numbered = tuple[int, av.VideoFrame]

SUFFIXES = (
    *(".avi", ".mp4", ".mov", ".mpeg", ".mpg", ".mkv"),
    *(".gif", ".webm", ".m4v", ".wmv"),
)
_LOST = 0.02  # AVI writers drop a packet now and then: harmless, and not a truncated file
_HELD_BYTES = 1 << 26  # larger files are decoded whole, so that memory stays bounded
_ONE_PACKET_A_FRAME = ("h264", "mpeg2video")  # in VP8, for one, some packets are never shown
_FULL_RANGE = 2  # AVCOL_RANGE_JPEG
_LIMITED_RANGE = 1  # AVCOL_RANGE_MPEG
_LUMA_FORMATS = {
    *("gray", "nv12", "nv16", "nv21", "nv24", "yuva420p", "yuva422p", "yuva444p"),
    *("yuv410p", "yuv411p", "yuv420p", "yuv422p", "yuv440p", "yuv444p"),
    *("yuvj411p", "yuvj420p", "yuvj422p", "yuvj440p", "yuvj444p"),
}


def decode(path: Path, every: int, channels: int, promised: int = 0) -> Iterator[Frame]:
    """Yield frames 0, every, 2 every, ... of the file's first video stream, in display order.

    With channels == 1 images are luma where the codec has it, else RGB. `promised`: how many frames
    there should be; 0 asks the container. Raises Broken (or an av error) for a damaged or truncated
    file, at the frame where that shows.
    """
    import av

    with av.open(str(path)) as container:
        if not container.streams.video:
            raise Broken("no video stream")
        stream = container.streams.video[0]
        # Files are decoded side by side, one process each: threads within would only wait.
        stream.thread_type = "NONE"
        promised = promised or stream.frames
        if path.stat().st_size > _HELD_BYTES:
            frames = _counted_frames(container.demux(stream), every, promised)
        else:
            packets = list(container.demux(stream))
            read = _kept_frames if _can_skip(stream, packets) else _counted_frames
            frames = read(packets, every, promised)
        for number, frame in frames:
            yield _frame(number, frame, channels)


def _can_skip(stream: "av.VideoStream", packets: "Sequence[Packet]") -> bool:
    codec = stream.codec_context.codec
    one_each = codec.intra_only or codec.name in _ONE_PACKET_A_FRAME
    return one_each and all(packet.pts is not None for packet in packets if packet.size)


def _kept_frames(packets: "Sequence[Packet]", every: int, promised: int) -> "Iterator[Numbered]":
    """Yield the kept frames by their rank in presentation time; skip what they do not need."""
    _check_whole(sum(packet.size > 0 for packet in packets), promised)
    context = packets[0].stream.codec_context
    intra_only = context.codec.intra_only
    times = sorted({packet.pts or 0 for packet in packets if packet.size and not packet.is_discard})
    kept = {time: number for number, time in enumerate(times) if number % every == 0}
    lost = set(kept)
    for packet in packets:
        needed = not packet.size or packet.pts in kept
        if not needed and intra_only:
            continue
        context.skip_frame = "DEFAULT" if needed else "NONREF"
        for frame in packet.decode():
            _check_intact(frame)
            if frame.pts in lost:
                lost.remove(frame.pts)
                yield kept[frame.pts], frame
    if len(lost) > max(1, _LOST * len(kept)):
        raise Broken(f"{len(lost)} of {len(kept)} kept frames cannot be decoded")


def _counted_frames(packets: "Iterable[Packet]", every: int, promised: int) -> "Iterator[Numbered]":
    """Decode every frame and yield those whose count is 0, every, 2 every, ..."""
    filled = shown = 0
    for packet in packets:
        filled += packet.size > 0
        for frame in packet.decode():
            _check_intact(frame)
            if shown % every == 0:
                yield shown, frame
            shown += 1
    _check_whole(filled, promised)


def _check_whole(packets: int, promised: int) -> None:
    if packets < promised * (1 - _LOST):
        raise Broken(f"truncated: {packets} of {promised} frames")


def _check_intact(frame: "av.VideoFrame") -> None:
    if frame.is_corrupt:
        raise Broken(f"damaged at {frame.time or 0:.2f} s")


def _frame(number: int, frame: "av.VideoFrame", channels: int) -> Frame:
    if channels == 3 or frame.format.name not in _LUMA_FORMATS:
        return Frame(number, Image.fromarray(frame.to_ndarray(format="rgb24")))
    plane, size = frame.planes[0], (frame.width, frame.height)
    luma = Image.frombuffer("L", size, bytes(plane), "raw", "L", plane.line_size, 1)
    return Frame(number, luma, _is_limited(frame))


def _is_limited(frame: "av.VideoFrame") -> bool:
    """Say whether luma is 16 to 235: by the stream's flag, else by what its format implies."""
    flag: Any = frame.color_range
    if flag in (_FULL_RANGE, _LIMITED_RANGE):
        return bool(flag == _LIMITED_RANGE)
    return not frame.format.name.startswith(("yuvj", "gray"))
