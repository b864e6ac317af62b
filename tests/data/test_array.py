"""A NumPy file: its axes by shape or by name, its values as they are, and advice for all others."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from echosweep.config import PrepareConfig
from echosweep.data import array
from echosweep.data.clip_frames import DecodeTask, decode_clip
from echosweep.data.source import Listing
from echosweep.data.store import Preparation
from echosweep.data.tree import scan
from echosweep.errors import UsageError

TASK = DecodeTask("array", 1, Preparation((8, 8)))


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def listed(path: Path, **options: Any) -> Listing:
    return array.clips(scan(path), PrepareConfig(**options))


def saved(folder: Path, value: NDArray[Any]) -> Path:
    np.save(folder / "a.npy", value, allow_pickle=True)
    return folder / "a.npy"


def pixels(listing: Listing) -> NDArray[np.uint8]:
    return np.array([[f.image for f in array.decode(clip, 1, 3)] for clip in listing.clips])


@pytest.mark.parametrize(
    ("shape", "videos", "frames", "layout"),
    [
        ((4, 9, 10), 4, 1, "4 images (N, H, W), grey"),
        ((4, 9, 10, 3), 4, 1, "4 images (N, H, W, C), colour"),
        ((4, 9, 10, 1), 4, 1, "4 images (N, H, W, C), grey"),
        ((4, 3, 9, 10), 4, 1, "4 images (N, C, H, W), colour"),
        ((4, 1, 9, 10), 4, 1, "4 images (N, C, H, W), grey"),
        ((2, 5, 9, 10), 2, 5, "2 videos of 5 frames (V, T, H, W), grey"),
        ((2, 5, 9, 10, 3), 2, 5, "2 videos of 5 frames (V, T, H, W, C), colour"),
        ((2, 5, 9, 10, 1), 2, 5, "2 videos of 5 frames (V, T, H, W, C), grey"),
        ((2, 5, 3, 9, 10), 2, 5, "2 videos of 5 frames (V, T, C, H, W), colour"),
        ((2, 3, 1, 9, 10), 2, 3, "2 videos of 3 frames (V, T, C, H, W), grey"),
    ],
)
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_the_shape_tells_the_axes(
    tmp_path: Path, shape: tuple[int, ...], videos: int, frames: int, layout: str, suffix: str
) -> None:
    value = noise(*shape)
    if suffix == "npy":
        saved(tmp_path, value)
    else:
        np.savez_compressed(tmp_path / "a.npz", pixels=value)
    listing = listed(tmp_path)
    assert listing.layout == layout
    assert [(c.item, c.frames) for c in listing.clips] == [(i, frames) for i in range(videos)]
    letters = layout[layout.index("(") + 1 : layout.index(")")].split(", ")
    if "C" in letters:
        value = np.moveaxis(value, letters.index("C"), -1)
        value = value if value.shape[-1] == 3 else value[..., 0]
    np.testing.assert_array_equal(pixels(listing), value if frames > 1 else value[:, None])


def test_channels_first_is_said_with_the_way_out(tmp_path: Path) -> None:
    path = saved(tmp_path, noise(4, 3, 9, 10))
    (note,) = listed(path).notes
    assert "shape (4, 3, 9, 10) is read as colour; choose --axes VTHW" in note
    videos = listed(path, axes="VTHW")
    assert videos.layout == "4 videos of 3 frames (V, T, H, W), grey"
    assert not videos.notes
    np.testing.assert_array_equal(pixels(videos), np.load(path))
    images = listed(path, axes="NCHW")
    assert not images.notes
    np.testing.assert_array_equal(pixels(images)[:, 0], np.moveaxis(np.load(path), 1, -1))


@pytest.mark.parametrize(
    ("shape", "axes", "message"),
    [
        ((9, 9), "auto", r"shape \(9, 9\); what can be read: .*; one image is read as array\[None"),
        ((), "auto", r"shape \(\); what can be read: \(N, H, W\)"),
        ((0, 9, 9), "auto", r"shape \(0, 9, 9\), as \(N, H, W\) it has no pixels"),
        ((9, 9, 3), "auto", r"9x3 pixels, and need 8 a side; one colour image is read as array\[N"),
        ((4, 9, 9, 4), "auto", r"4 channels, not 1 or 3; save array\[\.\.\., :3\] to drop transp"),
        ((4, 9, 9, 2), "auto", r"2 channels, not 1 or 3; save array\[\.\.\., 0\] to drop transpa"),
        ((4, 4, 9, 9), "NCHW", r"4 channels, not 1 or 3; choose --axes VTHW"),
        ((4, 5, 4, 9, 9), "VTCHW", r"4 channels, not 1 or 3; save array\[:, :, :3\] to drop"),
        ((4, 9, 9, 6), "auto", r"9x6 pixels, and need 8 a side; what can be read: \(N, H, W\)"),
        ((2, 5, 7, 9, 9), "auto", r"9 channels, not 1 or 3; what can be read"),
        ((2, 2, 5, 3, 9, 9), "auto", r"shape \(2, 2, 5, 3, 9, 9\); what can be read"),
        ((4, 9, 9), "VTHW", r"it has 3 axes, not 4; choose --axes NHW$"),
        ((4, 9, 9, 3), "VTHW", r"9x3 pixels, and need 8 a side; choose --axes NHWC$"),
    ],
)
def test_another_shape_is_refused_with_advice(
    tmp_path: Path, shape: tuple[int, ...], axes: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        listed(saved(tmp_path, np.zeros(shape, np.uint8)), axes=axes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.array([False, True]), [0, 255]),
        (np.array([0, 65535], np.uint16), [0, 255]),
        (np.array([0, 4095], np.uint16), [0, 255]),
        (np.array([0, 200], np.uint16), [0, 200]),
        (np.array([0, 200], np.int64), [0, 200]),
        (np.array([-32768, 32767], np.int16), [0, 255]),
        (np.array([0, 0.5, 1], np.float32), [0, 128, 255]),
        (np.array([-1, 0, 1], np.float16), [0, 128, 255]),
        (np.array([0, 99.7, 255]), [0, 100, 255]),
        (np.array([-1000.0, 1000.0]), [0, 255]),
    ],
)
def test_the_advice_fits_the_values(tmp_path: Path, value: Any, expected: list[int]) -> None:
    values = np.resize(value, (4, 8, 8))
    with pytest.raises(UsageError, match=rf"holds {value.dtype}, uint8 .* is needed") as caught:
        listed(saved(tmp_path, values))
    advice = str(caught.value).split(" save ")[1].split(", or divide")[0]
    made = eval(advice, {"np": np, "array": values})
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(made.ravel()[: len(expected)], expected)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.full((2, 8, 8), np.nan), "not finite"),
        (np.zeros((2, 8, 8), complex), "complex128, uint8 .* plain numbers"),
        (np.zeros((2, 8, 8), "U3"), "<U3, uint8 .* plain numbers"),
        (np.array([{"a": 1}], object), "not a plain NumPy array"),
    ],
)
def test_what_no_expression_mends_is_said_too(tmp_path: Path, value: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        listed(saved(tmp_path, value))


def test_each_row_has_a_content_of_its_own(tmp_path: Path) -> None:
    value = noise(3, 9, 10)
    value[2] = value[0]
    one, two, three = [decode_clip(TASK, clip) for clip in listed(saved(tmp_path, value)).clips]
    assert one.content == three.content != two.content
    assert len(one.content) == 16


def test_several_arrays_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", a=np.zeros(1), b=np.zeros(1))
    with pytest.raises(UsageError, match=r"^\S+two\.npz holds 2 arrays \(a, b\)"):
        listed(tmp_path / "two.npz")
    (tmp_path / "deep").mkdir()
    np.save(tmp_path / "deep" / "x.npy", np.zeros(1))
    with pytest.raises(UsageError, match=r"holds 2 arrays \(deep/x\.npy, two\.npz\); give one"):
        listed(tmp_path)


@given(data=st.binary(max_size=200), mark=st.sampled_from([b"", b"PK\x03\x04", b"\x93NUMPY\x01\0"]))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_garbage_is_refused_in_one_line(tmp_path: Path, data: bytes, mark: bytes) -> None:
    for name in ("bad.npy", "bad.npz"):
        (tmp_path / name).write_bytes(mark + data)
        with pytest.raises(UsageError, match=r"not a plain NumPy|what can be read") as caught:
            listed(tmp_path / name)
        assert "\n" not in str(caught.value)


@given(
    shape=st.lists(st.integers(0, 12), max_size=6).map(tuple),
    dtype=st.sampled_from(["u1", "u1", "u1", "u2", "f4", "?"]),
    axes=st.sampled_from(["auto", "NHW", "NHWC", "NCHW", "VTHW", "VTHWC", "VTCHW"]),
)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_shape_is_read_whole_or_refused(
    tmp_path: Path, shape: tuple[int, ...], dtype: str, axes: str
) -> None:
    path = saved(tmp_path, np.zeros(shape, dtype))
    array._load_once.cache_clear()  # files that are rewritten at once may have one time
    try:
        listing = listed(path, axes=axes)
    except UsageError:
        return
    assert dtype == "u1"
    assert len(listing.clips) == len({clip.name for clip in listing.clips}) == shape[0]
    size = 0
    for clip in listing.clips:
        frames = list(array.decode(clip, 1, 3))
        assert len(frames) == clip.frames
        size += sum(np.asarray(frame.image).size for frame in frames)
    assert size == np.prod(shape)


def test_an_array_that_is_changed_or_cut_is_a_fault(tmp_path: Path) -> None:
    path = saved(tmp_path, noise(4, 9, 10))
    clip = listed(path).clips[3]
    for value in (noise(2, 9, 10), noise(4, 5, 9, 10), np.zeros((4, 9, 10), np.float32)):
        saved(tmp_path, value)
        array._load_once.cache_clear()
        assert decode_clip(TASK, clip).fault == "a.npy has changed since it was listed"
    path.write_bytes(path.read_bytes()[:200])
    array._load_once.cache_clear()
    fault = decode_clip(TASK, clip).fault
    assert fault
    assert str(tmp_path) not in fault


def test_the_reported_arrays(shared_data: Path) -> None:
    folder = shared_data.parent / "cases" / "16-channel-first-arrays"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    assert listed(folder / "n3hw.npy").layout == "12 images (N, C, H, W), colour"
    assert listed(folder / "nhw1.npy").layout == "12 images (N, H, W, C), grey"
    with pytest.raises(UsageError, match=r"save array\[\.\.\., :3\]"):
        listed(folder / "nhw4.npy")
    with pytest.raises(UsageError, match=r"array // 257"):
        listed(folder / "u16.npy")
