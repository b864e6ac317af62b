"""Decode videos with PyAV: the luma plane as the codec stores it, no colour conversion.

Invariant: frame numbers count frames in the order in which a decoder shows them (`ffmpeg -i FILE`),
so `every` picks the same frames whatever the codec and the container; see `video_frames`.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from PIL import Image

from echosweep.data.source import Broken, Frame
from echosweep.data.video_bytes import stated_bytes
from echosweep.data.video_frames import Unproven, kept_frames

if TYPE_CHECKING:
    import av

SUFFIXES = (
    *(".avi", ".mp4", ".mov", ".mpeg", ".mpg", ".mkv"),
    *(".gif", ".webm", ".m4v", ".wmv"),
)
_FULL_RANGE = 2  # AVCOL_RANGE_JPEG
_LIMITED_RANGE = 1  # AVCOL_RANGE_MPEG
_LUMA_FORMATS = {
    *("gray", "nv12", "nv16", "nv21", "nv24", "yuva420p", "yuva422p", "yuva444p"),
    *("yuv410p", "yuv411p", "yuv420p", "yuv422p", "yuv440p", "yuv444p"),
    *("yuvj411p", "yuvj420p", "yuvj422p", "yuvj440p", "yuvj444p"),
}


def decode(path: Path, every: int, channels: int, promised: int = 0) -> Iterator[Frame]:
    """Yield frames 0, every, 2 every, ... of the file's first video stream, in display order.

    A cover picture is no video stream. The end of a file can be missing unnoticed only where
    nothing says how long the file is: an MPEG program or transport stream that is cut between two
    packets, a raw stream, a Matroska or fragmented MP4 file of a live recording that is cut between
    two of its parts. The frames that are left have the numbers that FFmpeg gives them.

    Args:
        path: the video file.
        every: one frame in how many is kept.
        channels: 1 gives luma where the codec has it, else RGB; 3 gives RGB.
        promised: how many frames there should be; 0 asks the container.

    Raises:
        Broken: the file is damaged or truncated, or its frames cannot be numbered; raised at the
            frame where that shows. PyAV's own errors pass too.
    """
    yield from _decode(_Source(path, None), every, channels, promised)


def decode_stream(
    file: BinaryIO, format: str | None, every: int, channels: int, promised: int = 0
) -> Iterator[Frame]:
    """Yield frames 0, every, 2 every, ... of a video that lies in memory; see `decode`.

    Args:
        file: the bytes (`io.BytesIO`), a whole file or a raw stream; it is not closed.
        format: FFmpeg's name of the format ("h264", "hevc", "mpegvideo", "mp4"); None guesses it.
        every: one frame in how many is kept.
        channels: 1 gives luma where the codec has it, else RGB; 3 gives RGB.
        promised: how many frames there should be; 0 asks the container.

    Raises:
        Broken: as `decode` does.
    """
    yield from _decode(_Source(file, format), every, channels, promised)


class _Source(NamedTuple):
    """Where a video lies, and FFmpeg's name of its format (None: to be guessed)."""

    place: Path | BinaryIO
    format: str | None

    def open(self) -> "av.container.InputContainer":
        """Open the video from its start; raise Broken if that fails because its end is missing."""
        import av

        if not isinstance(self.place, Path):
            self.place.seek(0)
        try:
            place = str(self.place) if isinstance(self.place, Path) else self.place
            return av.open(place, "r", format=self.format)
        except (av.FFmpegError, OSError):
            self.check_bytes()
            raise

    def is_whole(self) -> bool:
        """Say whether the headers state a number of bytes, and all of them are there."""
        size, stated = self._bytes()
        return 0 < stated <= size

    def check_bytes(self) -> None:
        """Raise Broken if the headers state more bytes than there are."""
        size, stated = self._bytes()
        if size < stated:
            raise Broken(f"truncated: {size} of at least {stated} bytes")

    def _bytes(self) -> tuple[int, int]:
        if not isinstance(self.place, Path):
            return self.place.seek(0, io.SEEK_END), stated_bytes(self.place)
        with self.place.open("rb") as file:
            return file.seek(0, io.SEEK_END), stated_bytes(file)


def _decode(source: _Source, every: int, channels: int, promised: int) -> Iterator[Frame]:
    """Decode by a short way, and if that fails from the start by counting."""
    done = -1
    for short in (True, False):
        with source.open() as container:
            stream = _video_stream(container)
            if stream is None or not stream.frames or container.format.name == "gif":
                source.check_bytes()
            if stream is None:
                raise Broken("no video stream")
            count, whole = promised or _promised(stream), source.is_whole
            try:
                for number, frame in kept_frames(container, stream, every, count, whole, short):
                    if number > done:
                        done = number
                        yield _frame(number, frame, channels)
                return
            except Unproven:
                assert short


def _video_stream(container: "av.container.InputContainer") -> "av.VideoStream | None":
    """Return the first video stream that is not the cover picture of other streams."""
    from av.stream import Disposition

    for stream in container.streams.video:
        if len(container.streams) > 1 and stream.disposition & Disposition.attached_pic:
            continue
        # Files are decoded side by side, one process each: threads within would only wait.
        stream.thread_type = "NONE"
        return stream
    return None


def _promised(stream: "av.VideoStream") -> int:
    """Return how many frames the container states, without those that edits leave out."""
    if stream.container.format.name.startswith("mov") and hasattr(stream, "index_entries"):
        return min(stream.frames, len(stream.index_entries))
    return stream.frames


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
