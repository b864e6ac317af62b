"""Decode videos with PyAV: the luma plane as the codec stores it, no colour conversion.

Invariant: frame numbers count frames in the order in which a decoder shows them (`ffmpeg -i FILE`),
so `every` picks the same frames whatever the codec and the container; see `video_frames`.
"""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from echosweep.data.limits import LIMITS, Limits
from echosweep.data.source import Broken, Frame
from echosweep.data.video_bytes import Stated, listed_samples, stated
from echosweep.data.video_frames import Unproven, kept_frames
from echosweep.data.video_luma import frame_of

if TYPE_CHECKING:
    import av

SUFFIXES = (
    *(".avi", ".mp4", ".mov", ".mpeg", ".mpg", ".mkv"),
    *(".gif", ".webm", ".m4v", ".wmv"),
)
# Containers of video, by FFmpeg's names, whatever the file's name promises: many a .avi is none.
# Playlists and scripts (concat, hls, dash, sdp), which name other files or a host, are not among
# them, nor is what reads numbered images or devices.
_CONTAINERS = (
    *("avi", "mov", "matroska", "mpeg", "mpegts", "mpegvideo", "asf", "gif", "flv", "ogg"),
    *("dv", "m4v", "h264", "hevc", "mjpeg"),
)
_SAMPLE_BYTES = 36  # of FFmpeg's list of what an MP4 holds
_MOST_PIXELS = (1 << 31) - 1  # FFmpeg has no larger limit


def decode(
    path: Path,
    every: int,
    channels: int,
    promised: int = 0,
    promised_by: str = "",
    limits: Limits = LIMITS,
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
        limits: how large its frames may be, and how many.

    Raises:
        Broken: the file is damaged or truncated, promises more than `limits` allow, or its frames
            cannot be numbered; raised at the frame where that shows. PyAV's own errors pass too.
    """
    yield from _decode(_Source(path, None, limits, promised_by), every, channels, promised)


def decode_stream(
    file: BinaryIO,
    format: str | None,
    every: int,
    channels: int,
    promised: int = 0,
    limits: Limits = LIMITS,
) -> Iterator[Frame]:
    """Yield frames 0, every, 2 every, ... of a video that lies in memory; see `decode`.

    Args:
        file: the bytes (`io.BytesIO`), a whole file or a raw stream; it is not closed.
        format: FFmpeg's name of the format ("h264", "hevc", "mpegvideo", "mp4"); None guesses it.
        every: one frame in how many is kept.
        channels: 1 gives luma where the codec has it, else RGB; 3 gives RGB.
        promised: how many frames there should be; 0 asks the container.
        limits: how large its frames may be, and how many.

    Raises:
        Broken: as `decode` does.
    """
    yield from _decode(_Source(file, format, limits), every, channels, promised)


class _Source(NamedTuple):
    """Where a video lies, FFmpeg's name of its format (None: to be guessed), who promises."""

    place: Path | BinaryIO
    format: str | None
    limits: Limits
    promised_by: str = ""

    def open(self) -> "av.container.InputContainer":
        """Open the video from its start; raise Broken if it is none or lacks its end.

        This is the only place that opens what others wrote with FFmpeg. It may read the file of an
        absolute path (no name is taken for a protocol, as "concat:a.avi" is), or, of bytes in
        memory, no file at all.
        """
        import av

        self._check_samples()
        options = {
            "format_whitelist": ",".join(_CONTAINERS),
            "protocol_whitelist": "file" if isinstance(self.place, Path) else "none",
            **_pixel_option(self.limits),  # for frames that are decoded to see what they are
        }
        place: str | BinaryIO
        if isinstance(self.place, Path):
            place = str(self.place.absolute())
        else:
            place = self.place
            place.seek(0)
        try:
            return av.open(place, "r", format=self.format, options=options)
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

    def _check_samples(self) -> None:
        """Raise Broken if there are too few bytes for the frames that an MP4 or MOV lists.

        FFmpeg takes memory for as many as the list says when it opens the file.
        """
        with self._bytes() as file:
            size = file.seek(0, io.SEEK_END)
            if (samples := listed_samples(file, size)) > size:
                raise Broken(f"damaged: {samples:,} frames are listed, in a file of {size:,} bytes")
            self.limits.check_bytes(samples * _SAMPLE_BYTES)

    def _stated(self) -> tuple[int, Stated]:
        with self._bytes() as file:
            return file.seek(0, io.SEEK_END), stated(file)

    def _bytes(self) -> contextlib.AbstractContextManager[BinaryIO]:
        if isinstance(self.place, Path):
            return self.place.open("rb")
        return contextlib.nullcontext(self.place)


def _decode(source: _Source, every: int, channels: int, promised: int) -> Iterator[Frame]:
    """Decode by a short way, and if that fails from the start by counting."""
    import av

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
            counted = counted or _promised(stream)
            _limit(stream, counted, source.limits)
            count, whole, limits = promised or counted, source.is_whole, source.limits
            try:
                for number, frame in kept_frames(
                    container, stream, every, count, whole, short, by, limits
                ):
                    if number > done:
                        done = number
                        yield frame_of(number, frame, channels)
                return
            except Unproven:
                assert short
            except av.ArgumentError as error:
                allowed = f"--max-megapixels {source.limits.megapixels:g} allows"
                raise Broken(f"a frame is damaged or has more pixels than {allowed}") from error


def _limit(stream: "av.VideoStream", promised: int, limits: Limits) -> None:
    """Raise Broken if a stream promises too much; have its decoder refuse what it did not."""
    limits.check_frames(promised)
    limits.check_size(stream.codec_context.width, stream.codec_context.height)
    stream.codec_context.options = _pixel_option(limits)


def _pixel_option(limits: Limits) -> dict[str, str]:
    """Return the option by which FFmpeg takes no memory for larger frames.

    It is twice the limit, as a decoder's frames may be larger than those that it shows.
    """
    return {"max_pixels": str(min(int(limits.megapixels * 2e6), _MOST_PIXELS))}


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
