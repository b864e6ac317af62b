"""Images and videos from the internet: what is opened, what is not, and what a header may cost.

Each attack is a file; each outcome is one line about it, or the pixels that its name promises.
"""

import contextlib
import io
import os
import random
import re
import shutil
import socket
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from echosweep.config import PrepareConfig
from echosweep.data import SOURCES, image_files, video
from echosweep.data.clip_frames import Decoded, DecodeTask, decode_clip
from echosweep.data.limits import LIMITS, Limits
from echosweep.data.source import Broken, Clip
from echosweep.data.store import Preparation
from echosweep.data.tree import scan
from echosweep.data.video_bytes import listed_samples

POSTSCRIPT = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n{} loop\n"
SECRET = "other.mkv"


def kind_of(path: Path) -> str:
    return "images" if path.suffix.lower() in image_files.SUFFIXES else "folder"


def read(path: Path, limits: Limits = LIMITS) -> Decoded:
    task = DecodeTask(kind_of(path), 1, Preparation((8, 8)), limits)
    return decode_clip(task, Clip(path.name, path))


# --- a name promises a format, and the content keeps it ---------------------------------------


@pytest.fixture
def ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file that a program called gs writes as soon as anything starts it."""
    called, program = tmp_path / "called", tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho called >> '{called}'\necho 9.0\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # Pillow remembers whether it is there
    return called


@pytest.mark.skipif(os.name == "nt", reason="the program is a shell script")
def test_postscript_never_reaches_ghostscript(tmp_path: Path, ghostscript: Path) -> None:
    for suffix in image_files.SUFFIXES:
        path = tmp_path / f"x{suffix}"
        path.write_text(POSTSCRIPT)
        assert "image" in read(path).fault
        assert image_files.read_header(path) is None
    assert not ghostscript.exists()
    with contextlib.suppress(Exception), Image.open(tmp_path / "x.png") as image:
        image.load()  # what Pillow does where nobody says which formats it may open
    assert ghostscript.exists()


@pytest.mark.parametrize("suffix", image_files.SUFFIXES)
def test_an_image_of_another_format_is_named_and_not_decoded(tmp_path: Path, suffix: str) -> None:
    for name in ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "PPM", "ICO", "TGA"):
        path = tmp_path / f"{name}{suffix}"
        Image.new("L", (16, 16), 90).save(path, format=name)
        result = read(path)
        assert bool(len(result.images)) == (f"is no {name}" in result.fault or not result.fault)
        if result.fault:
            assert "image" in result.fault
            assert str(tmp_path) not in result.fault


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A host that would notice a connection."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        opened.listen()
        opened.setblocking(False)
        yield opened


def scripts(host: str) -> dict[str, str]:
    """Return texts by which FFmpeg reads another file or asks a host."""
    m3u8 = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{host}/x.ts\n#EXTINF:1,\n{SECRET}\n"
    mpd = '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
    mpd += f'<Representation id="1"><BaseURL>{host}/x.mp4</BaseURL></Representation>'
    address = "c=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
    return {
        "concat": f"ffconcat version 1.0\nfile {SECRET}\n",
        "m3u8": f"{m3u8}#EXT-X-ENDLIST\n",
        "mpd": f'<?xml version="1.0"?>{mpd}</AdaptationSet></Period></MPD>',
        "sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\n{address}",
        "asx": f'<ASX version="3.0"><Entry><Ref href="{host}/x"/></Entry></ASX>',
        "postscript": POSTSCRIPT,
    }


PROTOCOLS = (
    *("concat:a.mkv|other.mkv", "data:text,a.mkv", "rtp:a.mkv", "pipe:0.mkv", "a%03d.mkv"),
    *("subfile,,start,0,end,0,,:a.mkv", "file:other.mkv", "crypto:other.mkv", "-i.mkv"),
)


def attack(folder: Path, host: str, videos: SimpleNamespace) -> None:
    """Write scripts called as videos, and videos called as what FFmpeg takes for an address."""
    videos.write(folder / SECRET, videos.numbered(9))
    for suffix in video.SUFFIXES:
        for name, text in scripts(host).items():
            (folder / f"{name}{suffix}").write_text(text)
    videos.write(folder / "v.mkv", videos.numbered(4))
    (folder / host).mkdir(parents=True)
    for name in (*PROTOCOLS, f"{host}/v.mkv"):
        shutil.copy(folder / "v.mkv", folder / name)


def read_attack(folder: Path, host: str) -> dict[str, int]:
    """Return how many frames each file of `attack` has, by relative names."""
    os.chdir(folder)
    names = [f"{name}{suffix}" for suffix in video.SUFFIXES for name in scripts(host)]
    names += [*PROTOCOLS, f"{host}/v.mkv"]
    return {name: len(read(Path(name)).images) for name in names}


@pytest.mark.skipif(os.name == "nt", reason="such names cannot be written")
def test_no_name_and_no_content_makes_a_video_of_another_file_or_of_a_host(
    tmp_path: Path,
    listener: socket.socket,
    videos: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = f"http://127.0.0.1:{listener.getsockname()[1]}".replace("//", "/")
    monkeypatch.chdir(tmp_path)
    attack(tmp_path, host, videos)
    for name, frames in read_attack(tmp_path, host).items():
        assert frames == (4 if name in PROTOCOLS or name.endswith("v.mkv") else 0), name
    with pytest.raises(BlockingIOError):
        listener.accept()


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_system_calls_show_no_socket_no_program_and_no_other_file(
    tmp_path: Path, videos: SimpleNamespace
) -> None:
    host, folder, log = "http:/127.0.0.1:9", tmp_path / "in", tmp_path / "log"
    folder.mkdir()
    attack(folder, host, videos)
    code = f"import test_formats as t; t.read_attack(t.Path({str(folder)!r}), {host!r})"
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    traced = [
        "strace",
        "-f",
        "--seccomp-bpf",
        "-o",
        str(log),
        "-e",
        "trace=open,openat,network,execve",
    ]
    done = subprocess.run(
        [*traced, sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, check=False
    )
    if not log.exists() or not log.stat().st_size:
        pytest.skip("strace may not trace here")
    assert done.returncode == 0
    calls = log.read_text(errors="replace").splitlines()
    assert sum(f'"{folder}/' in call for call in calls) > len(PROTOCOLS)  # the files themselves
    assert not [call for call in calls if f'/{SECRET}"' in call and ":other" not in call]
    assert not [call for call in calls if "socket(" in call or "connect(" in call]
    assert sum("execve(" in call for call in calls) == 1


# --- what a header promises is checked before memory is taken ---------------------------------


def chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    """Return a PNG that promises pixels and holds none: what decodes it finds it truncated."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IDAT", b"")


def tiff(pages: int) -> bytes:
    """Return a TIFF of so many pages, all of them the same bytes."""
    tags = [(256, 4, 16), (257, 4, 16), (258, 3, 8), (259, 3, 1), (262, 3, 1)]
    tags += [(273, 4, 8), (277, 3, 1), (278, 4, 16), (279, 4, 256)]
    page = struct.pack("<H", len(tags))
    page += b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    first, size = 264, len(page) + 4
    following = [first + size * (number + 1) for number in range(pages - 1)]
    chain = b"".join(page + struct.pack("<I", place) for place in (*following, 0))
    return b"II*\0" + struct.pack("<I", first) + bytes(256) + chain


def patched(name: str, mark: bytes, skip: int, *values: int) -> bytes:
    """Return a small image whose numbers at `skip` bytes behind a mark are other ones."""
    path = Path(name)
    Image.new("L", (16, 16)).save(path, lossless=True)
    data = bytearray(path.read_bytes())
    at = data.index(mark) + skip
    order = ">H" if name.endswith("jpg") else "<i"
    for value in values:
        size = struct.calcsize(order)
        data[at : at + size], at = struct.pack(order, value), at + size
    return bytes(data)


TOO_LARGE = r"its images have \d+x\d+ pixels, more than --max-megapixels 64 allows"
TOO_LONG = r"it has [\d,]+ frames, more than --max-frames 1000 allows"
ANIMATED = chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))
TEXT = zlib.compress(bytes(30_000_000), 9)
IMAGE_BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "large.png": (lambda: png(13_000, 13_000), TOO_LARGE),
    "larger.png": (lambda: png(60_000, 60_000), TOO_LARGE),
    "large.bmp": (lambda: patched("a.bmp", b"BM", 18, 60_000, 60_000), TOO_LARGE),
    "large.jpg": (lambda: patched("a.jpg", b"\xff\xc0", 5, 60_000, 60_000), TOO_LARGE),
    "large.webp": (lambda: patched("a.webp", b"VP8L", 9, (16_000 << 14 | 16_000)), TOO_LARGE),
    "frames.apng": (lambda: png(16, 16, ANIMATED), TOO_LONG),
    "pages.tif": (lambda: tiff(1_002), TOO_LONG),
    "text.png": (lambda: png(16, 16, chunk(b"zTXt", b"k\0\0" + TEXT)), "Decompressed data too"),
    "profile.png": (lambda: png(16, 16, chunk(b"iCCP", b"k\0\0" + TEXT)), "Decompressed data too"),
}


@pytest.mark.parametrize("name", IMAGE_BOMBS)
def test_an_image_that_promises_too_much_is_refused_by_its_header(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make, fault = IMAGE_BOMBS[name]
    path = tmp_path / "in" / "video" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(make())
    (listed,) = SOURCES["images"].clips(scan(tmp_path / "in"), PrepareConfig()).clips
    assert not listed.fault  # listing is cheap: it counts no pages
    limits = LIMITS._replace(frames=1000)
    result = decode_clip(DecodeTask("images", 1, Preparation((8, 8)), limits), listed)
    assert re.search(fault, result.fault)


def test_limits_of_images_are_those_that_are_given(tmp_path: Path) -> None:
    path = tmp_path / "pages.tif"
    path.write_bytes(tiff(7))
    assert len(read(path).images) == 7
    assert len(read(path, LIMITS._replace(frames=7, megapixels=256e-6)).images) == 7
    assert "7 frames, more than --max-frames 6" in read(path, LIMITS._replace(frames=6)).fault
    assert "16x16 pixels" in read(path, LIMITS._replace(megapixels=255e-6)).fault
    path.write_bytes(tiff(7)[:-30])
    assert read(path).fault == "pages.tif is truncated: page 6 is beyond its end"


def change(path: Path, mark: bytes, skip: int, number: bytes) -> None:
    data = bytearray(path.read_bytes())
    at = data.index(mark) + skip
    data[at : at + len(number)] = number
    path.write_bytes(data)


def test_frames_that_an_mp4_cannot_hold_are_refused_before_it_is_opened(
    tmp_path: Path, videos: SimpleNamespace
) -> None:
    """FFmpeg takes 36 bytes for each frame that a list of a few bytes promises."""
    path = videos.write(tmp_path / "v.mp4", videos.textured(10), "mjpeg", "yuvj420p")
    whole = path.read_bytes()
    promise = struct.pack(">II", 1, 80_000_000)  # of one byte each
    change(path, b"stsz", 8, promise)
    assert read(path).fault == (
        f"damaged: 80,000,000 frames are listed, in a file of {len(whole):,} bytes"
    )
    fragments = tmp_path / "f.mp4"
    fragments.write_bytes(whole + struct.pack(">I4s4xI", 16, b"trun", 90_000_000))
    assert "90,000,010 frames are listed" in read(fragments).fault
    path.write_bytes(whole)
    assert "GB or more, and --max-gigabytes" in read(path, LIMITS._replace(gigabytes=1e-9)).fault
    compressed = struct.pack(">I4sI4s", 24, b"moov", 16, b"cmov") + bytes(8)
    path.write_bytes(struct.pack(">I4s8x", 16, b"ftyp") + compressed)
    assert "its header is compressed" in read(path).fault


def test_a_list_on_the_border_of_two_blocks_is_read_once() -> None:
    for before in range((1 << 20) - 28, (1 << 20), 3):
        data = bytes(before) + b"stsz" + struct.pack(">III", 0, 1, 12_345) + bytes(50)
        file = io.BytesIO(struct.pack(">I4s", 8 + len(data), b"moov") + data)
        assert listed_samples(file, 8 + len(data)) == 12_345


def matroska(packets: int, packet: bytes) -> bytes:
    """Return a Matroska file of Motion JPEG whose packets are compressed by zlib."""

    def element(kind: int, data: bytes) -> bytes:
        length = (len(data) | 1 << 56).to_bytes(8, "big")
        return kind.to_bytes((kind.bit_length() + 7) // 8, "big") + length + data

    def number(kind: int, value: int) -> bytes:
        return element(kind, value.to_bytes(4, "big"))

    zipped = element(0x5034, number(0x4254, 0))
    coding = element(0x6D80, element(0x6240, number(0x5031, 0) + number(0x5033, 0) + zipped))
    size = element(0xE0, number(0xB0, 16) + number(0xBA, 16))
    track = number(0xD7, 1) + number(0x73C5, 1) + number(0x83, 1) + element(0x86, b"V_MJPEG")
    tracks = element(0x1654AE6B, element(0xAE, track + size + coding))
    block = element(0xA3, b"\x81\0\0\x80" + zlib.compress(packet, 9))
    clusters = [element(0x1F43B675, number(0xE7, 40 * i) + block) for i in range(packets)]
    info = element(0x1549A966, number(0x2AD7B1, 1_000_000))
    head = element(0x1A45DFA3, element(0x4282, b"matroska") + number(0x4287, 4))
    return head + element(0x18538067, info + tracks + b"".join(clusters))


@pytest.mark.parametrize("held", [0, 1 << 20, 1 << 26])
def test_packets_that_unfold_are_not_kept_in_memory(
    tmp_path: Path, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echosweep.data.video_frames._HELD_BYTES", held)
    Image.new("L", (16, 16), 77).save(tmp_path / "a.jpg")
    path = tmp_path / "v.mkv"
    path.write_bytes(matroska(8, (tmp_path / "a.jpg").read_bytes() + bytes(1_000_000)))
    result = read(path)
    assert not result.fault
    assert np.unique(result.images).tolist() == [77]
    assert len(result.images) == 8
    assert read(path, LIMITS._replace(gigabytes=0.004)).fault == (
        "it unfolds to 0.0 GB or more, and --max-gigabytes allows 0.004"
    )


def test_a_video_that_promises_too_much_is_refused(tmp_path: Path, videos: SimpleNamespace) -> None:
    path = videos.write(tmp_path / "v.avi", videos.textured(9, 32, 40), "mjpeg", "yuvj420p")
    for limits, fault in (
        (LIMITS._replace(frames=8), "it has 9 frames, more than --max-frames 8 allows"),
        (LIMITS._replace(megapixels=0.001), "40x32 pixels, more than --max-megapixels 0.001"),
    ):
        assert fault in read(path, limits).fault
    assert not read(path, LIMITS._replace(frames=9, megapixels=40 * 32 / 1e6)).fault
    change(path, b"strh", 8 + 32, struct.pack("<I", 2_000_000_000))
    assert "it has 2,000,000,000 frames, more than --max-frames" in read(path).fault


def test_a_picture_larger_than_its_container_says_takes_no_memory(
    tmp_path: Path, videos: SimpleNamespace
) -> None:
    """The codec's own header is the second place of a promise."""
    path = videos.write(tmp_path / "v.avi", videos.textured(3, 32, 32), "png", "gray")
    data = path.read_bytes()
    head = struct.pack(">II", 12_000, 12_000)
    path.write_bytes(data.replace(struct.pack(">II", 32, 32), head))
    assert "--max-megapixels 64 allows" in read(path).fault


# --- names in tables ---------------------------------------------------------------------------

HOSTILE = (
    *("../secret", "../../in/secret", "a/../../secret", "..", ".", "/", "/etc/passwd", "~/secret"),
    *("C:\\secret", "..\\secret", "%2e%2e/secret", "http://127.0.0.1/secret", "concat:a|secret"),
    *("\x1b[31msecret", "a\rsecret", "x" * 300, "x/" * 3000 + "secret", "\u202esecret"),
)


@pytest.mark.parametrize(("kind", "table"), [("echonet", "FileList.csv"), ("folder", "videos.csv")])
def test_a_name_in_a_table_leaves_no_folder(
    tmp_path: Path, kind: str, table: str, videos: SimpleNamespace
) -> None:
    root, row = tmp_path / "in", ",50,30,60,9,TRAIN\n"
    own = videos.write(root / "Videos" / "own.avi", videos.numbered(4), "mjpeg", "yuvj420p")
    for place in (tmp_path, root):
        shutil.copy(own, place / "secret.avi")
    head = f"{'FileName' if kind == 'echonet' else 'file'},EF,ESV,EDV,NumberOfFrames,Split\n"
    rows = [f'"{name}{end}"{row}' for name in HOSTILE for end in ("", ".avi")]
    (root / table).write_text(head + "".join(rows), newline="")
    (root / "secret.avi").unlink()
    clips = SOURCES[kind].clips(scan(root), PrepareConfig()).clips
    assert sum(bool(clip.fault) for clip in clips) >= len(HOSTILE)
    for clip in clips:
        assert root in clip.path.parents
        assert ".." not in clip.path.parts
        if clip.fault:
            task = DecodeTask(kind, 1, Preparation((8, 8)))
            assert decode_clip(task, clip).fault == clip.fault


# --- whatever the bytes are ----------------------------------------------------------------------

NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0xFFFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x10000000)


def spoil(data: bytearray, draw: random.Random) -> bytes:
    """Return bytes with odd numbers, flips, repeats and gaps where headers mostly are."""
    for _ in range(draw.choice((1, 2, 4))):
        at = draw.randrange(min(len(data), draw.choice((64, 512, 1 << 30))))
        how, size = draw.randrange(4), draw.choice((1, 2, 4, 8))
        if how == 0:
            data[at] ^= 1 << draw.randrange(8)
        elif how == 1:
            order = draw.choice(("big", "little"))
            number = draw.choice(NUMBERS) & ((1 << 8 * size) - 1)
            data[at : at + size] = number.to_bytes(size, order)
        elif how == 2:
            data[at:at] = data[at : at + 100] * draw.choice((1, 20))
        else:
            del data[at : at + 100]
    return bytes(data)


def test_no_spoilt_file_ends_a_decoder(tmp_path: Path, videos: SimpleNamespace) -> None:
    frames, draw = videos.textured(5, 24, 24), random.Random(0)
    for name, codec, pix_fmt in (
        *(
            ("a.avi", "mjpeg", "yuvj420p"),
            ("b.mp4", "libx264", "yuv420p"),
            ("c.mkv", "ffv1", "gray"),
        ),
        *(("d.mpg", "mpeg2video", "yuv420p"), ("e.gif", "gif", "gray"), ("f.mov", "png", "gray")),
        *(("g.webm", "libvpx", "yuv420p"), ("h.wmv", "wmv2", "yuv420p")),
    ):
        videos.write(tmp_path / name, frames, codec, pix_fmt)
    for suffix in image_files.SUFFIXES:
        Image.fromarray(frames[0]).save(tmp_path / f"i{suffix}", "PNG" if "ap" in suffix else None)
    for kind in ("images", "folder"):
        paths = [path for path in sorted(tmp_path.iterdir()) if kind_of(path) == kind]
        clips = []
        for number, path in enumerate(paths * 12):
            spoilt = path.with_name(f"{number}{path.suffix}")
            spoilt.write_bytes(spoil(bytearray(path.read_bytes()), draw))
            clips.append(Clip(spoilt.name, spoilt))
        task = DecodeTask(kind, 2, Preparation((8, 8)))
        results = [decode_clip(task, clip) for clip in clips]
        assert any(result.fault for result in results)
        assert all(bool(result.fault) != bool(len(result.images)) for result in results)
        assert not any(str(tmp_path) in result.fault for result in results)
        for clip in clips:
            clip.path.unlink()


def test_a_stream_in_memory_opens_no_file(tmp_path: Path, videos: SimpleNamespace) -> None:
    path = videos.write(tmp_path / SECRET, videos.numbered(4))
    for text in scripts(f"file:{path}").values():
        with pytest.raises((Broken, ValueError, EOFError)):
            list(video.decode_stream(io.BytesIO(text.encode()), None, 1, 1))
    assert len(list(video.decode_stream(io.BytesIO(path.read_bytes()), None, 1, 1))) == 4
