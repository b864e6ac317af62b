"""Decoding: the right frames, the right range, the right pixels."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from echosweep.data import video
from echosweep.data.pixels import (
    FILTERS,
    FITS,
    TOGETHER,
    crop_box,
    expand_range,
    small_image,
    small_images,
)
from echosweep.data.source import Broken, Frame
from echosweep.data.store import Preparation
from echosweep.data.video_luma import frame_of


def read(path: Path, every: int = 1, channels: int = 1) -> list[Frame]:
    return list(video.decode(path, every, channels))


def pixels(frame: Frame) -> np.ndarray:
    return np.asarray(expand_range(frame.image) if frame.limited else frame.image)


@pytest.mark.parametrize("every", [1, 2, 5, 7, 40])
@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("v.mkv", "ffv1", "gray"),
        ("v.avi", "mjpeg", "yuvj420p"),
        ("v.mp4", "libx264", "yuv420p"),
        ("v.mov", "libx264", "yuvj420p"),
        ("v.mpg", "mpeg2video", "yuv420p"),
        ("v.avi", "mpeg4", "yuv420p"),
        ("v.webm", "libvpx", "yuv420p"),
        ("v.gif", "gif", "gray"),
    ],
)
def test_every_picks_frames_by_their_number(
    tmp_path: Path, name: str, codec: str, pix_fmt: str, every: int, videos: SimpleNamespace
) -> None:
    options = {"bf": "2"} if codec in ("libx264", "mpeg2video", "mpeg4") else {}
    path = videos.write(tmp_path / name, 32 + videos.numbered(23), codec, pix_fmt, **options)
    frames = read(path, every)
    assert [frame.number for frame in frames] == list(range(0, 23, every))
    levels = [int(np.rint((np.asarray(frame.image).mean() - 32) / 8)) for frame in frames]
    assert levels == list(range(0, 23, every))


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video", "mjpeg"])
def test_skipped_frames_change_no_kept_pixel(
    tmp_path: Path, codec: str, videos: SimpleNamespace
) -> None:
    name, pix_fmt = ("v.avi", "yuvj420p") if codec == "mjpeg" else ("v.mkv", "yuv420p")
    path = videos.write(tmp_path / name, videos.textured(31, 48, 48), codec, pix_fmt)
    whole, kept = read(path, 1), read(path, 4)
    assert [frame.number for frame in kept] == list(range(0, 31, 4))
    for frame in kept:
        np.testing.assert_array_equal(frame.image, whole[frame.number].image)


@pytest.mark.parametrize("width", [24, 33, 50])  # widths that are not the plane's line size
def test_lossless_luma_comes_back_to_the_pixel(
    tmp_path: Path, width: int, videos: SimpleNamespace
) -> None:
    frames = videos.textured(3, 24, width)
    path = videos.write(tmp_path / "v.mkv", frames, "ffv1", "yuv444p", color_range=2)
    np.testing.assert_array_equal([pixels(frame) for frame in read(path)], frames)


@pytest.mark.parametrize(
    ("pix_fmt", "color_range", "limited"),
    [
        *(("yuv420p", 0, True), ("yuv420p", 1, True), ("yuv420p", 2, False)),
        *(("gray", 0, False), ("gray", 1, True)),
    ],
)
def test_limited_range_is_stretched_and_full_range_is_not(
    tmp_path: Path, pix_fmt: str, color_range: int, limited: bool, videos: SimpleNamespace
) -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint8), (16, 1))
    path = videos.write(tmp_path / "v.mkv", [ramp], "ffv1", pix_fmt, color_range)
    (frame,) = read(path)
    assert frame.limited == limited
    expected = np.clip((np.arange(256) - 16.0) * 255 / 219, 0, 255) if limited else ramp[0]
    np.testing.assert_allclose(pixels(frame)[0], expected, atol=0.5)
    assert (pixels(frame)[0, 16], pixels(frame)[0, 235]) == ((0, 255) if limited else (16, 235))


def test_colour_is_rgb_and_its_grey_is_full_range(tmp_path: Path, videos: SimpleNamespace) -> None:
    colour = np.zeros((16, 16, 3), np.uint8)
    colour[:, :8], colour[:, 8:] = (200, 30, 90), (255, 255, 255)
    path = videos.write(tmp_path / "v.mkv", [colour], "ffv1", "bgr0")
    (frame,) = read(path, channels=3)
    np.testing.assert_array_equal(frame.image, colour)
    grey = small_image(read(path)[0], Preparation((16, 16)))
    luma = 0.299 * 200 + 0.587 * 30 + 0.114 * 90
    np.testing.assert_allclose(grey[0, [0, 15]], [luma, 255], atol=1)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("codec", ["mjpeg", "mpeg4"])
def test_a_truncated_file_is_broken(
    tmp_path: Path, codec: str, share: float, videos: SimpleNamespace
) -> None:
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = videos.write(tmp_path / "v.avi", videos.textured(40), codec, pix_fmt)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(Broken, match=r"truncated: \d+ of (40 frames|at least \d+ bytes)"):
        read(path, every=3)


def test_fewer_frames_than_the_source_promised_are_truncated(
    tmp_path: Path, videos: SimpleNamespace
) -> None:
    path = videos.write(tmp_path / "v.mkv", videos.numbered(10))
    with pytest.raises(Broken, match="truncated: 10 of 20 frames"):
        list(video.decode(path, 1, 1, promised=20))


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
def test_damage_in_the_middle_is_found(tmp_path: Path, codec: str, videos: SimpleNamespace) -> None:
    path = videos.write(tmp_path / "v.mpg", videos.textured(40, 64, 64), codec, "yuv420p")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = np.random.default_rng(0).bytes(3000)
    path.write_bytes(data)
    with pytest.raises((Broken, ValueError)):
        read(path, every=5)


def test_a_file_without_video_is_broken(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        sound = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.rate = 8000
        container.mux(sound.encode(frame))
    with pytest.raises(Broken, match="no video stream"):
        read(tmp_path / "sound.mkv")


@pytest.mark.parametrize("fit", ["crop", "letterbox"])
@pytest.mark.parametrize("size", [(16, 16), (12, 20)])
def test_an_image_of_the_wanted_size_keeps_its_pixels(
    fit: str, size: tuple[int, int], videos: SimpleNamespace
) -> None:
    image = videos.textured(1, *size)[0]
    for filter in ("lanczos", "bicubic", "bilinear", "box"):
        small = small_image(Frame(0, Image.fromarray(image)), Preparation(size, 1, fit, filter))
        np.testing.assert_array_equal(small, image)


@settings(max_examples=100, deadline=None)
@given(
    size=st.tuples(st.integers(8, 150), st.integers(8, 150)),
    target=st.tuples(st.integers(8, 40), st.integers(8, 40)),
    channels=st.sampled_from([1, 3]),
    fit=st.sampled_from(FITS),
    filter=st.sampled_from(FILTERS),
    modes=st.just(["L"] * TOGETHER)
    | st.lists(st.sampled_from(["L", "RGB"]), min_size=1, max_size=TOGETHER),
    limited=st.lists(st.booleans(), min_size=1, max_size=2),
    seed=st.integers(0, 99),
)
def test_frames_resized_together_are_the_frames_resized_alone(
    size: tuple[int, int],
    target: tuple[int, int],
    channels: int,
    fit: str,
    filter: str,
    modes: list[str],
    limited: list[bool],
    seed: int,
) -> None:
    """The plain form of the resize and the fast one: the same bits."""
    rng, preparation = np.random.default_rng(seed), Preparation(target, channels, fit, filter)
    frames = []
    for number, mode in enumerate(modes):
        pixels = rng.integers(0, 256, (*size, 3)[: 2 if mode == "L" else 3], dtype=np.uint8)
        luma = mode == "L" and limited[number % len(limited)]
        frames.append(Frame(number, Image.fromarray(pixels), luma))
    alone = np.stack([small_image(frame, preparation) for frame in frames])
    np.testing.assert_array_equal(small_images(frames, preparation), alone)


def test_crop_takes_the_centre_and_only_crops(videos: SimpleNamespace) -> None:
    image = videos.textured(1, 16, 41)[0]
    small = small_image(Frame(0, Image.fromarray(image)), Preparation((16, 16)))
    np.testing.assert_array_equal(small, image[:, 12:28])
    assert crop_box((41, 16), (16, 16)) == (12, 0, 28, 16)
    assert crop_box((100, 100), (30, 20)) == (0, 16, 100, 83)


def test_letterbox_keeps_the_whole_frame_between_zeros() -> None:
    image = np.full((20, 40), 200, np.uint8)
    small = small_image(Frame(0, Image.fromarray(image)), Preparation((16, 16), fit="letterbox"))
    assert (small[4:12] == 200).all()
    assert (small[:4] == 0).all()
    assert (small[12:] == 0).all()


def test_resizing_is_antialiased() -> None:
    """A checkerboard finer than the target is grey, not a pattern of aliases."""
    board = (np.indices((128, 128)).sum(0) % 2 * 255).astype(np.uint8)
    for filter in ("lanczos", "bicubic", "bilinear", "box"):
        small = small_image(
            Frame(0, Image.fromarray(board)), Preparation((20, 20), 1, "crop", filter)
        )
        assert np.abs(small[2:-2, 2:-2].astype(int) - 127).max() <= 3


def test_the_fast_resize_stays_near_the_whole_filter(shared_data: Path) -> None:
    """Block averages cost less than .003 of the range (root mean square) on real ultrasound."""
    path = shared_data / "clips" / "convex" / "Reg_Image_182340_crop.mp4"
    for frame in read(path, every=50):
        exact = expand_range(frame.image).resize((64, 64), Image.Resampling.LANCZOS)
        error = small_image(frame, Preparation((64, 64))) - np.asarray(exact, float)
        assert np.sqrt((error**2).mean()) < 0.003 * 255


@pytest.mark.parametrize(
    "name", ["convex/Reg_pat1Image_132943.mpeg", "linear/Reg_Image_18122_crop.mp4"]
)
def test_real_luma_agrees_with_the_colour_converter(shared_data: Path, name: str) -> None:
    """FFmpeg's own conversion to grey, an independent path, gives the same full-range pixels."""
    import av

    path = shared_data / "clips" / name
    with av.open(str(path)) as container:
        for frame, ours in zip(container.decode(video=0), read(path, every=1), strict=False):
            np.testing.assert_allclose(
                pixels(ours).astype(int), frame.to_ndarray(format="gray").astype(int), atol=1
            )
            if ours.number == 20:
                break


def test_frames_below_eight_pixels_are_broken() -> None:
    with pytest.raises(Broken, match="100x7 pixels; at least 8"):
        small_image(Frame(0, Image.new("L", (100, 7))), Preparation((16, 16)))


@pytest.mark.parametrize(
    "pix_fmt", ["yuv420p10le", "yuv444p10le", "yuyv422", "uyvy422", "gray16le"]
)
@pytest.mark.parametrize("color_range", [1, 2])
def test_deep_and_packed_pixels_give_the_luma_of_eight_bit_planes(
    tmp_path: Path, pix_fmt: str, color_range: int
) -> None:
    """What FFmpeg converts from 8 bits comes back within a level: no colour is converted."""
    import av

    ramp = np.tile(np.arange(16, 236, 2, dtype=np.uint8), (16, 1))
    grey = av.VideoFrame(ramp.shape[1], 16, "yuv444p")
    for number, plane in enumerate(grey.planes):
        rows = np.full((16, plane.line_size), 128, np.uint8)
        rows[:, : ramp.shape[1]] = ramp if number == 0 else 128
        plane.update(rows.tobytes())
    grey.color_range = color_range
    if pix_fmt == "gray16le":
        grey = av.VideoFrame.from_ndarray(ramp.astype(np.uint16) * 257, format="gray16le")
        grey.color_range = 2
    frame = grey.reformat(format=pix_fmt, dst_color_range=color_range)
    frame.color_range = 2 if pix_fmt == "gray16le" else color_range
    ours = frame_of(0, frame, 1)
    assert ours.limited == (frame.color_range == 1)
    np.testing.assert_allclose(np.asarray(ours.image, int), ramp, atol=1)


@pytest.mark.parametrize("name", ["v.webm", "v.mkv"])
def test_a_damaged_middle_is_noticed(tmp_path: Path, name: str, videos: SimpleNamespace) -> None:
    """A demuxer that loses its way looks for the next cluster, and says nothing."""
    path = videos.write(tmp_path / name, videos.textured(26, 32, 32), "libvpx", "yuv420p")
    data = bytearray(path.read_bytes())
    middle = len(data) * 2 // 5
    data[middle : middle + 4000] = bytes(byte ^ 0x5A for byte in data[middle : middle + 4000])
    path.write_bytes(data)
    with pytest.raises((Broken, ValueError)):
        read(path)
