"""Which frame is which: over codecs, containers, patterns of frames, dropped chunks and cuts.

Every frame shows its own number as six blocks, dark or bright, so that any codec keeps it. What
PyAV shows when it decodes everything is the oracle where the truth is not what was put in.
"""

import io
import itertools
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from echosweep.data import video, video_frames
from echosweep.data.source import Broken

EVERY = (1, 2, 3, 5, 7)
WIDTH, HEIGHT, COUNT = 96, 48, 40
B_FRAMES = {"bf": "2", "g": "12"}
STUB = b"\0\0\1\xb6\x50\xcf"  # MPEG-4: a frame that is "not coded"
X265 = {"x265-params": "log-level=none:pools=none:frame-threads=1"}
SVT = {"preset": "12", "svtav1-params": "lp=1"}

Packets = list[tuple[bytes, bool, int, int]]  # data, keyframe, pts, dts


def picture(number: int) -> np.ndarray:
    """Return an image that shows `number` in six blocks, above a bar that moves."""
    pixels = np.full((HEIGHT, WIDTH), 60, np.uint8)
    for bit in range(6):
        pixels[:32, bit * 16 : bit * 16 + 16] = 200 if number >> bit & 1 else 40
    pixels[36:, number * 2 : number * 2 + 8] = 180
    return pixels


def shown_number(pixels: np.ndarray) -> int:
    """Return the number that an image shows."""
    return sum(
        int(pixels[8:24, bit * 16 + 4 : bit * 16 + 12].mean() > 120) << bit for bit in range(6)
    )


def encode(stream: Any, numbers: Iterable[int], times: Callable[[int], int]) -> Iterator[av.Packet]:
    for number in numbers:
        frame = av.VideoFrame.from_ndarray(picture(number), format="gray")
        frame = frame.reformat(format=stream.pix_fmt)
        frame.pts, frame.time_base = times(number), Fraction(1, 25)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def write(
    path: Path,
    codec: str,
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    numbers: Iterable[int] = range(COUNT),
    times: Callable[[int], int] = int,
    format: str | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Write a video whose frame at `times(k)` (in 1/25 s) shows k."""
    with av.open(str(path), "w", format=format, options=container_options or {}) as container:
        stream: Any = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pix_fmt
        container.mux(list(encode(stream, numbers, times)))
    return path


def rewrite(source: Path, target: Path, change: Callable[[Packets], Packets]) -> Path:
    """Copy a video, its packets changed."""
    with av.open(str(source)) as container, av.open(str(target), "w") as copy:
        stream = container.streams.video[0]
        packets = [
            (bytes(packet), packet.is_keyframe, packet.pts, packet.dts)
            for packet in container.demux(stream)
            if packet.size
        ]
        to = copy.add_stream_from_template(stream)
        for data, key, pts, dts in change(packets):
            packet = av.Packet(data)
            packet.stream, packet.time_base = to, stream.time_base
            packet.pts, packet.dts, packet.is_keyframe = pts, dts, key
            copy.mux(packet)
    return target


def oracle(path: Path) -> list[int]:
    """Return the numbers that the frames show when everything is decoded."""
    with av.open(str(path)) as container:
        return [
            shown_number(frame.to_ndarray(format="gray"))
            for packet in container.demux(container.streams.video[0])
            if packet.size or packet.dts is None
            for frame in packet.decode()
        ]


def kept(path: Path, every: int) -> list[tuple[int, int]]:
    """Return (number, shown number) of the kept frames."""
    return seen(video.decode(path, every, 1))


def seen(frames: Iterable[Any]) -> list[tuple[int, int]]:
    return [(frame.number, shown_number(np.asarray(frame.image))) for frame in frames]


def check(path: Path, truth: Sequence[int]) -> None:
    """Check that kept frame k shows truth[k] for every spacing, and that none is missing."""
    for every in EVERY:
        expected = [(number, truth[number]) for number in range(0, len(truth), every)]
        assert kept(path, every) == expected, f"every {every}"


MATRIX = [
    *((f"v.{end}", "libx264", "yuv420p", B_FRAMES) for end in ("mp4", "mkv", "avi", "wmv", "mpg")),
    *((f"v.{end}", "libx264", "yuv420p", {"bf": "0"}) for end in ("mov", "avi")),
    ("v.mp4", "libx264", "yuv420p", {"x264-params": "bframes=8:b-pyramid=normal:b-adapt=0"}),
    ("v.mkv", "libx264", "yuv420p", {"x264-params": "open-gop=1:keyint=8:bframes=3"}),
    ("v.mov", "libx264", "yuv420p", {"x264-params": "tff=1:bframes=2:keyint=9"}),
    ("v.mp4", "libx264", "yuv420p", {"x264-params": "intra-refresh=1:keyint=9:slices=3"}),
    ("v.mp4", "libx265", "yuv420p", X265),
    ("v.mkv", "libx265", "yuv420p", X265),
    *((f"v.{end}", "mpeg4", "yuv420p", B_FRAMES) for end in ("avi", "mp4", "mkv")),
    ("v.avi", "mpeg4", "yuv420p", {"g": "9"}),
    *((f"v.{end}", "mpeg2video", "yuv420p", B_FRAMES) for end in ("mpg", "mkv", "avi", "mov")),
    ("v.mpg", "mpeg2video", "yuv420p", {"flags": "+ilme+ildct", **B_FRAMES}),
    ("v.mpeg", "mpeg1video", "yuv420p", B_FRAMES),
    ("v.avi", "libvpx", "yuv420p", {"auto-alt-ref": "0"}),
    *((f"v.{end}", "wmv2", "yuv420p", {}) for end in ("wmv", "avi")),
    *(("v.avi", codec, "yuv420p", {}) for codec in ("msmpeg4", "msmpeg4v2", "flv")),
    *((f"v.{end}", "mjpeg", "yuvj420p", {}) for end in ("avi", "mov", "mkv", "mp4")),
    ("v.webm", "libvpx", "yuv420p", {"auto-alt-ref": "1", "lag-in-frames": "12"}),
    ("v.mkv", "libvpx", "yuv420p", {"auto-alt-ref": "1", "lag-in-frames": "12"}),
    ("v.webm", "libvpx-vp9", "yuv420p", {"auto-alt-ref": "1", "lag-in-frames": "12"}),
    ("v.mp4", "libvpx-vp9", "yuv420p", {"cpu-used": "8", "deadline": "realtime"}),
    ("v.mkv", "libsvtav1", "yuv420p", SVT),
    *((f"v.{end}", "ffv1", "yuv420p", {"g": "10"}) for end in ("avi", "mkv")),
    ("v.gif", "gif", "gray", {}),
    ("v.avi", "huffyuv", "yuv422p", {}),
    ("v.avi", "ffvhuff", "yuv420p", {"context": "1"}),
    ("v.avi", "utvideo", "yuv420p", {}),
    ("v.avi", "magicyuv", "gray", {}),
    ("v.avi", "rawvideo", "yuv420p", {}),
    *((f"v.{end}", "png", "gray", {}) for end in ("avi", "mov")),
    ("v.mov", "prores_ks", "yuv422p10le", {}),
    *((f"v.{end}", "cinepak", "rgb24", {}) for end in ("avi", "mov")),
    ("v.mov", "qtrle", "rgb24", {}),
    ("v.avi", "msvideo1", "rgb555le", {}),
    ("v.avi", "jpeg2000", "gray", {}),
    ("v.avi", "zmbv", "bgr0", {}),
]


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "options"),
    [pytest.param(*row, id=f"{row[1]}-{row[0][2:]}-{i}") for i, row in enumerate(MATRIX)],
)
def test_kept_frame_k_is_frame_k(
    tmp_path: Path, name: str, codec: str, pix_fmt: str, options: dict[str, str]
) -> None:
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    count = 15 if codec in ("libx265", "libsvtav1", "cinepak") else COUNT
    path = write(tmp_path / name, codec, pix_fmt, options, range(count))
    assert oracle(path) == list(range(count))
    check(path, range(count))


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv"])
def test_h264_skips_frames_that_no_other_needs(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = count_decoded(monkeypatch)
    path = write(tmp_path / name, "libx264", options={"x264-params": "bframes=3:b-adapt=0"})
    assert kept(path, 5) == [(number, number) for number in range(0, COUNT, 5)]
    assert decoded
    assert sum(decoded) < COUNT - 8


def test_motion_jpeg_decodes_only_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    intact = video_frames._check_intact
    monkeypatch.setattr(
        video_frames, "_check_intact", lambda *args: read.append(args[1]) or intact(*args)
    )
    check(write(tmp_path / "v.avi", "mjpeg", "yuvj420p"), range(COUNT))
    assert read == [number for every in EVERY for number in range(0, COUNT, every)]


def count_decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the number of packets of each decoding."""
    counts: list[int] = []
    shown = video_frames._shown

    def counting(packets: Any, stream: Any) -> Any:
        held = list(packets)
        counts.append(len(held))
        return shown(held, stream)

    monkeypatch.setattr(video_frames, "_shown", counting)
    return counts


def swapped(times: list[int]) -> list[int]:
    """Exchange the times of two frames that others refer to."""
    return [times[1], times[0], *times[2:]]


def restarted(times: list[int]) -> list[int]:
    return [*times[: COUNT // 2], *(time - times[COUNT // 2] for time in times[COUNT // 2 :])]


def doubled(times: list[int]) -> list[int]:
    return [times[0], times[0], *times[2:]]


def missing(times: list[int]) -> list[int | None]:
    return [*times[:9], None, *times[10:]]


def backwards(times: list[int]) -> list[int]:
    return [-time for time in times]


@pytest.mark.parametrize("options", [{"bf": "0", "refs": "1"}, B_FRAMES])
@pytest.mark.parametrize("change", [swapped, restarted, doubled, missing, backwards])
def test_times_that_lie_do_not_shift_frames(
    tmp_path: Path, options: dict[str, str], change: Callable[[list[int]], list[int]]
) -> None:
    path = write(tmp_path / "v.mp4", "libx264", options=options)
    for every, short in itertools.product(EVERY, (True, False)):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            packets = [packet for packet in container.demux(stream) if packet.size]
            times = change([packet.pts or 0 for packet in packets])
            for packet, time in zip(packets, times, strict=True):
                packet.pts = time
            lying: Any = SimpleNamespace(
                format=container.format, size=1, demux=lambda _, p=packets: p
            )
            numbers = []
            try:
                for number, frame in video_frames.kept_frames(
                    lying, stream, every, 0, lambda: True, short
                ):
                    numbers.append((number, shown_number(frame.to_ndarray(format="gray"))))
            except video_frames.Unproven:
                assert short
            else:
                assert len(numbers) == len(range(0, COUNT, every))
        assert all(number == shown for number, shown in numbers)


@pytest.mark.parametrize(
    "options", [{"bf": "0"}, B_FRAMES, {"x264-params": "open-gop=1:keyint=8:bframes=3"}]
)
@pytest.mark.parametrize("end", ["mp4", "mkv"])
@pytest.mark.parametrize("start", [1, 5, 8, 13])
def test_a_start_that_lacks_its_keyframe_does_not_shift_frames(
    tmp_path: Path, options: dict[str, str], end: str, start: int
) -> None:
    source = write(tmp_path / "v.mp4", "libx264", options=options)
    path = rewrite(source, tmp_path / f"changed.{end}", lambda packets: packets[start:])
    check(path, oracle(path))


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "mjpeg", "libvpx"])
@pytest.mark.parametrize("name", ["v.mp4", "v.mkv"])
def test_a_variable_frame_rate_is_counted(tmp_path: Path, name: str, codec: str) -> None:
    if (name, codec) == ("v.mp4", "libvpx"):
        pytest.skip("VP8 has no place in MP4")
    path = write(
        tmp_path / name,
        codec,
        "yuvj420p" if codec == "mjpeg" else "yuv420p",
        B_FRAMES if codec in ("libx264", "mpeg4") else {},
        times=lambda k: k + 3 * (k > 9) + 20 * (k > 25),
    )
    check(path, range(COUNT))


@pytest.mark.parametrize("codec", ["libx264", "mjpeg"])
@pytest.mark.parametrize("shift", [5, 16])
def test_an_edit_list_leaves_frames_out_as_ffmpeg_does(
    tmp_path: Path, codec: str, shift: int
) -> None:
    options = B_FRAMES if codec == "libx264" else {}
    path = tmp_path / "v.mp4"
    write(path, codec, "yuv420p" if options else "yuvj420p", options, times=lambda k: k - shift)
    truth = oracle(path)
    assert truth[-1] == COUNT - 1
    check(path, truth)


def test_the_clip_may_follow_sound_and_a_cover(tmp_path: Path) -> None:
    cover = io.BytesIO()
    Image.fromarray(picture(63)).save(cover, "PNG")
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as container:
        first: Any = container.add_stream("png", rate=25)
        first.width, first.height, first.pix_fmt = WIDTH, HEIGHT, "gray"
        first.disposition = av.stream.Disposition.attached_pic
        sound: Any = container.add_stream("aac", rate=8000, layout="mono")
        clip: Any = container.add_stream("libx264", rate=25, options=B_FRAMES)
        clip.width, clip.height, clip.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        packet = av.Packet(cover.getvalue())
        packet.stream, packet.pts, packet.dts, packet.is_keyframe = first, 0, 0, True
        container.mux(packet)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.rate = 8000
        container.mux(sound.encode(frame))
        container.mux(list(encode(clip, range(COUNT), int)))
    check(path, range(COUNT))
    with av.open(str(path)) as container:
        clip, picture_stream = container.streams.video
        assert picture_stream.codec_context.name == "png"
        cover_first: Any = SimpleNamespace(
            streams=_Streams([picture_stream, clip], video=[picture_stream, clip])
        )
        assert video._video_stream(cover_first) is clip


class _Streams(list[Any]):
    def __init__(self, streams: list[Any], video: list[Any]) -> None:
        super().__init__(streams)
        self.video = video


@pytest.mark.parametrize(
    ("codec", "format"),
    [
        ("mpeg2video", "mpeg"),
        ("mpeg1video", "mpeg"),
        ("libx264", "mpegts"),
        ("mpeg2video", "mpegts"),
    ],
)
def test_clocks_that_restart_do_not_matter(tmp_path: Path, codec: str, format: str) -> None:
    parts = [
        write(tmp_path / f"{i}", codec, "yuv420p", B_FRAMES, numbers, format=format).read_bytes()
        for i, numbers in enumerate((range(20), range(20, COUNT)))
    ]
    path = tmp_path / "v.mpg"
    path.write_bytes(b"".join(parts))
    truth = oracle(path)
    assert len(truth) >= COUNT - 2
    check(path, truth)


def lists(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (name, content) of the chunks in `data`."""
    start = 0
    while start + 8 <= len(data):
        (size,) = struct.unpack("<I", data[start + 4 : start + 8])
        yield data[start : start + 4], data[start + 8 : start + 8 + size]
        start += 8 + size + size % 2


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def avi_with(path: Path, change: Callable[[list[bytes]], list[bytes]], index: bool = True) -> None:
    """Rewrite an AVI of one stream: its video chunks changed, its header and index to match."""
    parts = list(lists(path.read_bytes()[12:]))
    header = bytearray(next(content for name, content in parts if content[:4] == b"hdrl"))
    movi = next(content for name, content in parts if content[:4] == b"movi")
    chunks = change([content for name, content in lists(movi[4:]) if name[:2] == b"00"])
    header[12 + 16 : 12 + 20] = struct.pack("<I", len(chunks))  # avih: total frames
    length = header.index(b"strh") + 8 + 32
    header[length : length + 4] = struct.pack("<I", len(chunks))
    body, entries = b"movi", b""
    for number, content in enumerate(chunks):
        entries += struct.pack("<4sIII", b"00dc", 16 * (number == 0), len(body), len(content))
        body += chunk(b"00dc", content)
    content = b"AVI " + chunk(b"LIST", bytes(header)) + chunk(b"LIST", body)
    path.write_bytes(chunk(b"RIFF", content + (chunk(b"idx1", entries) if index else b"")))


GRID = [
    ("mjpeg", "yuvj420p", {}),
    ("libx264", "yuv420p", {"bf": "0", "g": "12"}),
    ("mpeg4", "yuv420p", {"g": "12"}),
    ("msmpeg4", "yuv420p", {}),
    ("wmv2", "yuv420p", {}),
    ("huffyuv", "yuv422p", {}),
    ("rawvideo", "yuv420p", {}),
    ("ffv1", "yuv420p", {"g": "10"}),
    ("msvideo1", "rgb555le", {}),
]


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("dropped", [(3, 4), (1, 2, 8, 9, 10, 35), (20, 37, 38, 39), (5,)])
@pytest.mark.parametrize(("codec", "pix_fmt", "options"), GRID)
def test_an_empty_chunk_shows_the_frame_before_it_again(
    tmp_path: Path,
    codec: str,
    pix_fmt: str,
    options: dict[str, str],
    dropped: tuple[int, ...],
    index: bool,
) -> None:
    numbers = [number for number in range(COUNT) if number not in dropped]
    path = write(tmp_path / "v.avi", codec, pix_fmt, options, numbers, times=numbers.index)
    places = {number: place for place, number in enumerate(numbers)}
    avi_with(
        path,
        lambda chunks: [chunks[places[k]] if k in places else b"" for k in range(COUNT)],
        index,
    )
    truth = list(itertools.accumulate(range(COUNT), lambda a, b: b if b in places else a))
    check(path, truth)


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize(("codec", "pix_fmt", "options"), GRID[:3])
def test_empty_chunks_before_the_first_frame_are_not_counted(
    tmp_path: Path,
    codec: str,
    pix_fmt: str,
    options: dict[str, str],
    held: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not held:
        monkeypatch.setattr(video_frames, "_HELD_BYTES", 0)
    path = write(tmp_path / "v.avi", codec, pix_fmt, options)
    avi_with(path, lambda chunks: [b"", b"", b"", *chunks])
    check(path, range(COUNT))


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_empty_chunks_among_frames_that_change_order_are_refused(
    tmp_path: Path, codec: str
) -> None:
    path = write(tmp_path / "v.avi", codec, "yuv420p", B_FRAMES)
    avi_with(path, lambda chunks: [*chunks[:9], b"", b"", *chunks[9:]])
    for every in EVERY:
        with pytest.raises(Broken, match="chunks are empty and frames change their order"):
            kept(path, every)


def test_a_chunk_whose_frame_is_not_coded_shows_the_frame_before_it_again(tmp_path: Path) -> None:
    path = write(tmp_path / "v.avi", "mpeg4", "yuv420p", {"g": "39"})
    avi_with(path, lambda chunks: [*chunks[:5], STUB, STUB, *chunks[5:20], STUB, *chunks[20:]])
    assert oracle(path) == list(range(COUNT))
    check(path, [*range(5), 4, 4, *range(5, 20), 19, *range(20, COUNT)])


@pytest.mark.parametrize("index", [True, False])
def test_two_frames_in_one_chunk_are_counted(tmp_path: Path, index: bool) -> None:
    """DivX packs a frame and the B-frame before it into one chunk; a small stub follows."""
    path = write(tmp_path / "v.avi", "mpeg4", "yuv420p", {"bf": "1", "b_strategy": "0", "g": "39"})

    def packed(chunks: list[bytes]) -> list[bytes]:
        start = chunks[0].index(b"\0\0\1\xb6")
        mark = b"\0\0\1\xb2DivX503b1393p"
        first = chunks[0][:start] + mark + chunks[0][start:]
        pairs = [chunks[i : i + 2] for i in range(1, len(chunks) - 1, 2)]
        rest = [part for pair in pairs for part in (b"".join(pair), STUB)]
        return [first, *rest, *chunks[1 + 2 * len(pairs) :]]

    avi_with(path, packed, index)
    assert oracle(path) == list(range(COUNT))
    check(path, range(COUNT))


CUT = [
    ("v.mp4", "libx264", "yuv420p", {}),
    ("v.mp4", "libx264", "yuv420p", {"movflags": "faststart"}),
    ("v.mp4", "libx264", "yuv420p", {"movflags": "frag_keyframe+empty_moov"}),
    ("v.mov", "mjpeg", "yuvj420p", {"movflags": "faststart"}),
    ("v.m4v", "mpeg4", "yuv420p", {}),
    ("v.mkv", "libx264", "yuv420p", {}),
    ("v.mkv", "mjpeg", "yuvj420p", {}),
    ("v.mkv", "libx264", "yuv420p", {"live": "1"}),
    ("v.webm", "libvpx", "yuv420p", {}),
    ("v.webm", "libvpx-vp9", "yuv420p", {}),
    ("v.gif", "gif", "gray", {}),
    ("v.avi", "mpeg4", "yuv420p", {}),
    ("v.avi", "mjpeg", "yuvj420p", {}),
    ("v.avi", "libx264", "yuv420p", {}),
    ("v.avi", "huffyuv", "yuv422p", {}),
    ("v.wmv", "wmv2", "yuv420p", {}),
    ("v.wmv", "libx264", "yuv420p", {}),
]


@pytest.mark.parametrize(("name", "codec", "pix_fmt", "container_options"), CUT)
def test_a_cut_file_is_known_by_what_its_headers_state(
    tmp_path: Path,
    name: str,
    codec: str,
    pix_fmt: str,
    container_options: dict[str, str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    options = B_FRAMES if codec in ("libx264", "mpeg4") else {}
    whole = tmp_path / f"whole-{name}"
    write(whole, codec, pix_fmt, options, container_options=container_options)
    check(whole, range(COUNT))
    data = whole.read_bytes()
    capfd.readouterr()
    for share in (0.2, 0.5, 0.8, 0.9):
        (tmp_path / name).write_bytes(data[: int(len(data) * share)])
        if name == "v.avi" and share == 0.9:  # the index and one frame may be all that lacks
            continue
        for every in EVERY:
            with pytest.raises(Broken, match="truncated: "):
                kept(tmp_path / name, every)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("codec", ["mpeg2video", "mpeg1video", "libx264"])
@pytest.mark.parametrize("format", ["mpeg", "mpegts"])
def test_a_cut_mpeg_stream_keeps_its_numbers_or_is_left_out(
    tmp_path: Path, codec: str, format: str, capfd: pytest.CaptureFixture[str]
) -> None:
    data = write(tmp_path / "w", codec, "yuv420p", B_FRAMES, format=format).read_bytes()
    path = tmp_path / "v.mpg"
    capfd.readouterr()
    for share in (0.2, 0.5, 0.8, 0.97):
        path.write_bytes(data[: int(len(data) * share)])
        for every in EVERY:
            try:
                numbers = kept(path, every)
            except (Broken, av.FFmpegError):
                continue
            truth = oracle(path)
            assert numbers == [(n, truth[n]) for n in range(0, len(truth), every)]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("lost", [1, 2])
def test_one_lost_frame_of_a_short_avi_is_borne(tmp_path: Path, lost: int) -> None:
    path = write(tmp_path / "v.avi", "mjpeg", "yuvj420p", numbers=range(30))
    avi_with(path, lambda chunks: chunks)
    data = bytearray(path.read_bytes())
    for field in (data.index(b"avih") + 8 + 16, data.index(b"strh") + 8 + 32):
        data[field : field + 4] = struct.pack("<I", 30 + lost)
    path.write_bytes(data[: data.index(b"idx1")])  # cut: the header speaks of more bytes and frames
    if lost == 1:
        check(path, range(30))
    else:
        with pytest.raises(Broken, match="truncated: 30 of 32 frames"):
            kept(path, 5)


def test_a_sample_without_bytes_does_not_end_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "v.mp4", "mjpeg", "yuvj420p", numbers=range(20))
    data = bytearray(path.read_bytes())
    table = data.index(b"stsz") + 16
    sizes = list(struct.unpack(">20I", data[table : table + 80]))
    sizes[6:8] = [sizes[6] + sizes[7], 0]  # the bytes of sample 7 become a tail of sample 6
    data[table : table + 80] = struct.pack(">20I", *sizes)
    path.write_bytes(data)
    check(path, [*range(7), *range(8, 20)])


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        *(("v.avi", codec, "yuv420p") for codec in ("libx264", "mpeg4")),
        *(("v.avi", "mjpeg", "yuvj420p"), ("v.mp4", "libx264", "yuv420p")),
    ],
)
def test_a_large_file_is_read_as_a_small_one(
    tmp_path: Path, name: str, codec: str, pix_fmt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_frames, "_HELD_BYTES", 0)
    options = {} if codec == "mjpeg" else B_FRAMES
    path = write(tmp_path / name, codec, pix_fmt, options)
    check(path, range(COUNT))
    if codec == "mjpeg":
        avi_with(path, lambda chunks: [*chunks[:5], b"", b"", *chunks[5:]])
        check(path, [*range(5), 4, 4, *range(5, COUNT)])
        avi_with(path, lambda chunks: [*chunks[:5], *[b""] * 3])
        path.write_bytes(path.read_bytes()[:-200])
        with pytest.raises(Broken, match="truncated: 5 of 8 frames"):
            kept(path, 2)


@pytest.mark.parametrize(
    ("codec", "format", "options"),
    [
        *(("libx264", format, B_FRAMES) for format in ("h264", "mp4", None)),
        *(("libx264", "h264", {"bf": "0"}), ("libx265", "hevc", X265), ("libx265", "mp4", X265)),
        *(("mpeg2video", "mpegvideo", B_FRAMES), ("mpeg2video", "mpeg", B_FRAMES)),
    ],
)
def test_a_stream_in_memory_is_read_as_a_file(
    tmp_path: Path, codec: str, format: str | None, options: dict[str, str]
) -> None:
    count = 15 if codec == "libx265" else COUNT
    raw = "mpeg2video" if format == "mpegvideo" else format or "mp4"
    path = write(tmp_path / "v", codec, "yuv420p", options, range(count), format=raw)
    file = io.BytesIO(path.read_bytes())
    for every in EVERY:
        expected = [(number, number) for number in range(0, count, every)]
        assert seen(video.decode_stream(file, format, every, 1)) == expected
    with pytest.raises(Broken, match=f"truncated: {count} of 60 frames"):
        list(video.decode_stream(file, format, 5, 1, promised=60))
    with pytest.raises((Broken, av.FFmpegError)):
        list(video.decode_stream(io.BytesIO(b"nothing of the kind" * 9), "mp4", 1, 1))


@pytest.fixture
def cases(shared_data: Path) -> Path:
    path = shared_data.parent / "cases"
    if not path.is_dir():
        pytest.skip(f"no cases at {path}")
    return path


@pytest.mark.parametrize("name", ["ramp_avi.avi", "ramp_wmv.wmv", "ramp_mp4.mp4"])
def test_frames_of_the_ramp_are_told_by_their_brightness(cases: Path, name: str) -> None:
    """The bar is 7 brighter in each frame, in any container."""
    path = next(cases.glob(f"01-*/in/{name}"), None)
    if path is None:
        pytest.skip(f"no {name}")
    levels = {frame.number: np.asarray(frame.image).mean() for frame in video.decode(path, 1, 1)}
    assert list(levels) == list(range(30))
    assert (np.diff([*levels.values()]) > 3).all()
    for every in EVERY:
        for frame in video.decode(path, every, 1):
            assert np.asarray(frame.image).mean() == pytest.approx(levels[frame.number])


@pytest.mark.parametrize("codec", ["mjpeg", "mpeg4", "h264"])
def test_a_capture_card_that_dropped_frames_leaves_the_grid_whole(cases: Path, codec: str) -> None:
    path = next(cases.glob(f"19-*/in/drops_{codec}.avi"), None)
    if path is None:
        pytest.skip(f"no drops_{codec}.avi")
    every_one = [np.asarray(frame.image) for frame in video.decode(path, 1, 1)]
    assert len(every_one) == 30
    repeated = [k for k in range(1, 30) if np.array_equal(every_one[k], every_one[k - 1])]
    assert repeated == [3, 4, 13, 14, 23, 24]
    for every in EVERY:
        frames = list(video.decode(path, every, 1))
        assert [frame.number for frame in frames] == list(range(0, 30, every))
        for frame in frames:
            np.testing.assert_array_equal(frame.image, every_one[frame.number])


@pytest.mark.parametrize("every", EVERY)
def test_one_lost_packet_of_a_real_avi_is_borne(cases: Path, every: int) -> None:
    path = next(cases.glob("19-*/in/one_packet_lost.avi"), None)
    if path is None:
        pytest.skip("no one_packet_lost.avi")
    numbers = [frame.number for frame in video.decode(path, every, 1)]
    assert numbers == list(range(0, 28, every))
