"""Each source: what it lists, what it labels, and what it says of a wrong layout."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from echosweep.data import array, images
from echosweep.data.prepare import prepare
from echosweep.errors import UsageError


# --- images ---------------------------------------------------------------------------------


def save(path: Path, level: int, mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (16, 16), level if mode in ("L", "I;16") else (level, 0, 0)).save(path)


def test_a_subfolder_of_images_is_a_video_in_natural_order(tmp_path: Path) -> None:
    for number in range(12):
        save(tmp_path / "in" / "video" / f"frame{number}.png", 10 * number)
    save(tmp_path / "in" / "loose.bmp", 200)
    loose, video = images.clips(tmp_path / "in")
    assert (loose.name, loose.frames) == ("loose.bmp", 1)
    assert (video.name, video.frames) == ("video", 12)
    store = prepare(tmp_path / "in", tmp_path / "store", size=8, every=5, workers=1)
    assert store.images[:, 0, 0].tolist() == [200, 0, 50, 100]
    assert store.index["frame"].tolist() == [0, 0, 5, 10]


def test_colour_images_give_luma_or_colour(tmp_path: Path) -> None:
    save(tmp_path / "in" / "red.png", 255, "RGB")
    grey = prepare(tmp_path / "in", tmp_path / "grey", size=8, workers=1)
    assert grey.images[0, 0, 0] == round(0.299 * 255)
    colour = prepare(tmp_path / "in", tmp_path / "colour", size=8, channels=3, workers=1)
    assert colour.images[0, 0, 0].tolist() == [255, 0, 0]
    assert grey.fingerprint != colour.fingerprint


def test_deep_images_are_excluded(tmp_path: Path) -> None:
    save(tmp_path / "in" / "deep.png", 4000, "I;16")
    save(tmp_path / "in" / "fine.png", 40)
    store = prepare(tmp_path / "in", tmp_path / "store", size=8, max_excluded=0.5, workers=1)
    assert "mode I;16; 8-bit images are needed" in store.manifest["excluded"]["deep.png"]


# --- array ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "videos", "frames"),
    [((4, 9, 10), 4, 1), ((4, 9, 10, 3), 4, 1), ((2, 5, 9, 10), 2, 5), ((2, 5, 9, 10, 3), 2, 5)],
)
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_the_shape_tells_images_from_videos(
    tmp_path: Path, shape: tuple[int, ...], videos: int, frames: int, suffix: str
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path / f"a.{suffix}"
    if suffix == "npy":
        np.save(path, pixels)
    else:
        np.savez_compressed(path, pixels=pixels)
    clips = array.clips(path)
    assert [(clip.item, clip.frames) for clip in clips] == [(i, frames) for i in range(videos)]
    read = [[np.asarray(f.image) for f in array.decode(clip, 1, 3)] for clip in clips]
    np.testing.assert_array_equal(np.reshape(read, shape), pixels)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((2, 8, 8), np.float32), r"float32, uint8 .* np.rint\(array \* 255\)"),
        (np.zeros((8, 8), np.uint8), r"shape \(8, 8\); what can be read"),
        (np.zeros((0, 8, 8), np.uint8), r"shape \(0, 8, 8\)"),
        (np.array([{"a": 1}], object), "not a plain NumPy array"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, value: np.ndarray, message: str) -> None:
    np.save(tmp_path / "a.npy", value, allow_pickle=True)
    with pytest.raises(UsageError, match=message):
        prepare(tmp_path / "a.npy", tmp_path / "store")


def test_an_archive_of_two_arrays_and_garbage_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", a=np.zeros(1), b=np.zeros(1))
    with pytest.raises(UsageError, match=r"^\S+two\.npz holds 2 arrays \(a, b\)"):
        prepare(tmp_path / "two.npz", tmp_path / "store")
    for garbage in (b"", b"garbage", b"PK\x03\x04 garbage", b"\x93NUMPY\x01\x00"):
        (tmp_path / "bad.npy").write_bytes(garbage)
        with pytest.raises(UsageError, match="not a plain NumPy array"):
            prepare(tmp_path / "bad.npy", tmp_path / "store")


# --- auto -----------------------------------------------------------------------------------


def test_nothing_to_prepare_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").touch()
    with pytest.raises(UsageError, match=r"nothing to prepare.*FileList.*avi.*DICOM.*png.*npy"):
        prepare(tmp_path / "in", tmp_path / "store")
    with pytest.raises(UsageError, match="nothing to prepare; looked for images"):
        prepare(tmp_path / "in", tmp_path / "store", kind="images")
    with pytest.raises(UsageError, match=r"there is no .*absent"):
        prepare(tmp_path / "absent", tmp_path / "store")


def test_an_ambiguous_folder_asks_for_the_kind(tmp_path: Path, videos: SimpleNamespace) -> None:
    videos.write(tmp_path / "in" / "a.mkv", videos.numbered(2))
    save(tmp_path / "in" / "b.png", 9)
    with pytest.raises(UsageError, match="--kind folder or --kind images"):
        prepare(tmp_path / "in", tmp_path / "store")
    store = prepare(tmp_path / "in", tmp_path / "store", kind="folder", size=8, workers=1)
    assert [video.name for video in store.videos] == ["a.mkv"]
