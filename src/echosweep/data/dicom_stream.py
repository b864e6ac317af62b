"""Decode a video that lies in memory: what MPEG-2, H.264 and HEVC in DICOM are (PS3.5 8.2.5).

Invariant: frame numbers count what the decoder shows, so frame k is the k-th that a player shows.
"""

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from PIL import Image

from echosweep.data.source import Broken, Frame

if TYPE_CHECKING:
    import av

_FULL_RANGE = 2  # AVCOL_RANGE_JPEG
_LUMA_FORMATS = {f"{yuv}{chroma}p" for yuv in ("yuv", "yuvj") for chroma in (420, 422, 444)}
_LOST = 0.02  # as for video files: a share of missing frames that is no truncation


def decode_stream(
    file: BinaryIO, format: str | None, every: int, channels: int, promised: int = 0
) -> Iterator[Frame]:
    """Yield frames 0, every, 2 every, ... of a video in memory, in the order in which it is shown.

    Args:
        file: the bytes, a whole file or a raw stream.
        format: FFmpeg's name of the format; None guesses it.
        every: one frame in how many is kept.
        channels: 1 gives luma, 3 gives RGB.
        promised: how many frames there should be; 0 asks nobody.

    Raises:
        Broken: the video is damaged or truncated. PyAV's own errors pass too.
    """
    import av

    count = 0
    with av.open(file, "r", format=format) as container:
        if not container.streams.video:
            raise Broken("no video stream")
        container.streams.video[0].thread_type = "NONE"
        for frame in container.decode(video=0):
            if frame.is_corrupt:
                raise Broken(f"damaged at frame {count}")
            if count % every == 0:
                yield _frame(count, frame, channels)
            count += 1
    if promised - count > max(1, _LOST * promised):
        raise Broken(f"truncated: {count} of {promised} frames")


def stream_of(fragments: Iterator[bytes]) -> BinaryIO:
    """Return the fragments of an encapsulated video as one file in memory."""
    return io.BytesIO(b"".join(fragments))


def _frame(number: int, frame: "av.VideoFrame", channels: int) -> Frame:
    if channels == 3 or frame.format.name not in _LUMA_FORMATS:
        return Frame(number, Image.fromarray(frame.to_ndarray(format="rgb24")))
    plane, size = frame.planes[0], (frame.width, frame.height)
    luma = Image.frombuffer("L", size, bytes(plane), "raw", "L", plane.line_size, 1)
    limited = frame.color_range != _FULL_RANGE and not frame.format.name.startswith("yuvj")
    return Frame(number, luma, limited)
