"""Decode videos with PyAV: the luma plane as the codec stores it, no colour conversion.

Invariant: frame numbers count frames in the order in which a decoder shows them (`ffmpeg -i FILE`),
so `every` picks the same frames whatever the codec and the container; see `video_frames`.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from echosweep.data.source import Broken, Frame
from echosweep.data.video_bytes import Stated, stated
from echosweep.data.video_frames import Unproven, kept_frames
from echosweep.data.video_luma import frame_of

if TYPE_CHECKING:
    import av

SUFFIXES = (
    *(".avi", ".mp4", ".mov", ".mpeg", ".mpg", ".mkv"),
    *(".gif", ".webm", ".m4v", ".wmv"),
)
# Containers of video, by FFmpeg's names. Playlists and scripts (concat, hls, dash), which name
# other files, are not among them, nor is what reads numbered images, devices or a network.
_CONTAINERS = (
    *("avi", "mov", "matroska", "mpeg", "mpegts", "mpegvideo", "asf", "gif", "flv", "ogg", "mxf"),
    *("nut", "ivf", "dv", "rm", "wtv", "nsv", "amv", "yuv4mpegpipe", "m4v", "h261", "h263", "h264"),
    *("hevc", "vvc", "av1", "obu", "vc1", "mjpeg", "cavsvideo", "dirac", "apng"),
)
_ONLY = {"format_whitelist": ",".join(_CONTAINERS), "protocol_whitelist": "file"}


def decode(
    path: Path, every: int, channels: int, promised: int = 0, promised_by: str = ""
) -> Iterator[Frame]:
    """Yield frames 0, every, 2 every, ... of the file's first video stream, in display order.

    A cover picture is no video stream. The end of a file can be missing unnoticed only where
    nothing says how long the file is: an MPEG program or transport stream that is cut between two
    packets, a raw stream, a Matroska or fragmented MP4 file of a live recording that is cut between
    two of its parts. Damage that leaves every part of a container in its place, and that the
    decoder does not see, is not noticed: wrong bytes within an image of a GIF. The frames that are
    left have the numbers that FFmpeg gives them.

    Args:
        path: the video file.
        every: one frame in how many is kept.
        channels: 1 gives luma where the codec has it, else RGB; 3 gives RGB.
        promised: how many frames there should be; 0 asks the container.
        promised_by: the table that promises them; "" if the video itself does.

    Raises:
        Broken: the file is damaged or truncated, or its frames cannot be numbered; raised at the
            frame where that shows. PyAV's own errors pass too.
    """
    yield from _decode(_Source(path, None, promised_by), every, channels, promised)


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
    """Where a video lies, FFmpeg's name of its format (None: to be guessed), who promises."""

    place: Path | BinaryIO
    format: str | None
    promised_by: str = ""

    def open(self) -> "av.container.InputContainer":
        """Open the video from its start; raise Broken if that fails because its end is missing.

        A path is made absolute, so that no name is taken for a protocol ("concat:a.avi").
        """
        import av

        if not isinstance(self.place, Path):
            self.place.seek(0)
        try:
            place = str(self.place.absolute()) if isinstance(self.place, Path) else self.place
            return av.open(place, "r", format=self.format, options=_ONLY)
        except (av.FFmpegError, OSError) as error:
            self.check()
            if isinstance(error, ValueError) and not isinstance(error, av.InvalidDataError):
                raise Broken("its content is no video (a playlist, script or image?)") from error
            raise

    def is_whole(self) -> bool:
        """Say whether the headers state a number of bytes, and all of them are there."""
        size, stated = self._stated()
        return 0 < stated.bytes <= size

    def check(self) -> Stated:
        """Return what the headers state; raise Broken if that cannot be true of these bytes."""
        size, stated = self._stated()
        if size < stated.bytes:
            raise Broken(f"truncated: {size} of at least {stated.bytes} bytes")
        if stated.damaged is not None:
            raise Broken(f"damaged: what is at byte {stated.damaged} is no part of a video")
        return stated

    def _stated(self) -> tuple[int, Stated]:
        if not isinstance(self.place, Path):
            return self.place.seek(0, io.SEEK_END), stated(self.place)
        with self.place.open("rb") as file:
            return file.seek(0, io.SEEK_END), stated(file)


def _decode(source: _Source, every: int, channels: int, promised: int) -> Iterator[Frame]:
    """Decode by a short way, and if that fails from the start by counting."""
    done = -1
    by = source.promised_by if promised else ""
    for short in (True, False):
        with source.open() as container:
            stream, counted = _video_stream(container), 0
            if stream is None or not stream.frames or container.format.name == "gif":
                stated = source.check()
                counted = stated.frames if len(container.streams) == 1 else 0
            if stream is None:
                raise Broken("no video stream")
            count, whole = promised or counted or _promised(stream), source.is_whole
            try:
                for number, frame in kept_frames(container, stream, every, count, whole, short, by):
                    if number > done:
                        done = number
                        yield frame_of(number, frame, channels)
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
