"""Still images: videos or classes, masks, splits, tables, pages, and what is said of damage."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from echosweep.config import PrepareConfig
from echosweep.data import images
from echosweep.data.clip_frames import Decoded, DecodeTask, decode_clip
from echosweep.data.limits import LIMITS
from echosweep.data.source import MISSING, Clip, Listing
from echosweep.data.store import FrameStore, Preparation, Video
from echosweep.data.tree import scan
from echosweep.data.writer import write_store
from echosweep.export import FORMATS
from echosweep.progress import silent

FUZZ = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def save(
    path: Path, level: int = 50, mode: str = "L", size: tuple[int, int] = (16, 16), **more: Any
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    grey = mode in ("L", "I;16", "I", "F", "1", "P")
    Image.new(mode, size, level if grey else (level, *[0] * (len(mode) - 1))).save(path, **more)
    return path


def listed(path: Path, **options: Any) -> Listing:
    return images.clips(scan(path), PrepareConfig(**options))


def decoded(clip: Clip, every: int = 1, channels: int = 1) -> Decoded:
    return decode_clip(DecodeTask("images", every, Preparation((8, 8), channels)), clip)


def levels(clip: Clip, every: int = 1) -> list[int]:
    found = decoded(clip, every)
    assert not found.fault
    return [int(level) for level in found.images[:, 0, 0]]


def names(listing: Listing) -> list[str]:
    return [clip.name for clip in listing.clips]


# --- videos ---------------------------------------------------------------------------------


def test_a_subfolder_of_images_is_a_video_in_natural_order(tmp_path: Path) -> None:
    for number in range(12):
        save(tmp_path / "video" / f"frame{number}.png", 10 * number)
    save(tmp_path / "loose.bmp", 200)
    listing = listed(tmp_path)
    loose, video = listing.clips
    assert (loose.name, loose.frames, loose.labels) == ("loose.bmp", 1, {})
    assert (video.name, video.frames, video.labels) == ("video", 12, {})
    assert levels(video) == list(range(0, 120, 10))
    assert levels(video, 5) == [0, 50, 100]
    assert decoded(video, 5).numbers == [0, 5, 10]
    assert listing.layout == "1 subfolder as video, 1 image by itself"
    assert listing.notes == [
        "1 subfolder is read as videos; --folders class reads each image for itself"
    ]
    assert not listed(tmp_path, folders="video").notes


def test_the_folder_that_holds_the_images_is_the_video(tmp_path: Path) -> None:
    for patient in ("p1", "p2"):
        for clip in ("c1", "c2"):
            save(tmp_path / patient / clip / "0.png")
            save(tmp_path / patient / clip / "1.png")
    save(tmp_path / "p1" / "still.png")
    listing = listed(tmp_path)
    assert [(clip.name, clip.frames, clip.labels) for clip in listing.clips] == [
        ("p1", 1, {}),
        *[(f"{patient}/{clip}", 2, {}) for patient in ("p1", "p2") for clip in ("c1", "c2")],
    ]


def test_folders_of_splits_are_splits(tmp_path: Path) -> None:
    for split, video in (("train", "v1"), ("train", "v2"), ("Val", "v3"), ("testing", "v4")):
        for number in range(2):
            save(tmp_path / split / "A4C" / video / f"{number}.png")
    save(tmp_path / "train" / "loose.png")
    clips = {clip.name: clip for clip in listed(tmp_path).clips}
    assert {name: clip.split for name, clip in clips.items()} == {
        **{"train/A4C/v1": "train", "train/A4C/v2": "train", "Val/A4C/v3": "val"},
        **{"testing/A4C/v4": "test", "train/loose.png": "train"},
    }
    assert not any(clip.labels for clip in clips.values())
    assert clips["train/A4C/v1"].split_by == "the folders train, val, test"


# --- classes --------------------------------------------------------------------------------


def test_images_of_several_sizes_are_classes(tmp_path: Path) -> None:
    for number in range(7):
        save(tmp_path / "benign" / f"{number}.png", size=(16 + number, 16))
        save(tmp_path / "normal" / "left" / f"{number}.jpg", size=(16, 16 + number))
    listing = listed(tmp_path)
    assert [(clip.name, dict(clip.labels)) for clip in listing.clips] == [
        *[(f"benign/{number}.png", {"folder": "benign"}) for number in range(7)],
        *[(f"normal/left/{number}.jpg", {"folder": "normal/left"}) for number in range(7)],
    ]
    (note,) = listing.notes
    assert note.startswith("2 subfolders are read as classes of single images, as their images dif")
    assert "--folders video" in note
    assert {clip.split_by for clip in listing.clips} == {""}


def test_one_video_of_changing_size_makes_no_classes(tmp_path: Path) -> None:
    for video in range(5):
        for number in range(4):
            save(tmp_path / f"v{video}" / f"{number}.png", size=(16, 17 if number == video else 16))
    save(tmp_path / "v4" / "odd.png", size=(20, 20))
    for number in (1, 2, 3):
        save(tmp_path / f"v{number}" / f"{number}.png")
    listing = listed(tmp_path)
    assert names(listing) == ["v0", "v1", "v2", "v3", "v4"]
    assert "frame 1 is (16, 16), those before (16, 17)" in decoded(listing.clips[0]).fault


def test_masks_are_left_out_and_make_classes(tmp_path: Path) -> None:
    for name in ("a (1)", "a (2)", "lone_mask"):
        save(tmp_path / "benign" / f"{name}.png")
    for name in ("a (1)_mask", "a (1)_mask_1", "a (2)_Mask"):
        save(tmp_path / "benign" / f"{name}.png")
    save(tmp_path / "other" / "a (1)_mask.png")
    listing = listed(tmp_path)
    assert names(listing) == [
        *("benign/a (1).png", "benign/a (2).png", "benign/lone_mask.png", "other/a (1)_mask.png")
    ]
    assert {file.name: why for file, why in listing.unread.items()} == dict.fromkeys(
        ("a (1)_mask.png", "a (1)_mask_1.png", "a (2)_Mask.png"), "mask of another image"
    )
    assert "as masks lie beside images" in listing.notes[0]
    videos = listed(tmp_path, folders="video")
    assert names(videos) == ["benign", "other"]
    assert len(videos.unread) == 3


def test_names_that_recur_in_the_splits_are_classes(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        for name in ("benign", "malignant"):
            for number in range(3):
                save(tmp_path / split / name / f"{number}.png")
    listing = listed(tmp_path)
    assert len(listing.clips) == 18
    assert {(clip.split, clip.labels["folder"]) for clip in listing.clips} == {
        (split, name) for split in ("train", "val", "test") for name in ("benign", "malignant")
    }
    assert "as the same names are in several splits" in listing.notes[0]
    videos = listed(tmp_path, folders="video")
    assert names(videos)[:2] == ["test/benign", "test/malignant"]
    assert videos.clips[0].labels == {}


def test_numbered_videos_in_splits_are_no_classes(tmp_path: Path) -> None:
    for split, number in (("train", 7), ("val", 2), ("test", 1)):
        for video in range(number):
            save(tmp_path / split / f"video{video}" / "0.png")
            save(tmp_path / split / f"video{video}" / "1.png")
    listing = listed(tmp_path)
    assert len(listing.clips) == 10
    assert "10 subfolders are read as videos" in listing.notes[0]


def test_the_option_decides(tmp_path: Path) -> None:
    for name in ("benign", "normal"):
        for number in range(3):
            save(tmp_path / name / f"{number}.png")
    assert names(listed(tmp_path)) == ["benign", "normal"]
    classes = listed(tmp_path, folders="class")
    assert [clip.labels["folder"] for clip in classes.clips] == ["benign"] * 3 + ["normal"] * 3
    assert not classes.notes


# --- tables ---------------------------------------------------------------------------------


def test_a_table_of_single_images_gives_labels(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / "train" / "a" / f"{number}.png")
        save(tmp_path / "test" / "a" / f"{number}.png")
    (tmp_path / "train" / "metadata.csv").write_text(
        "file_name,label,EF,patient,split\na/0.png,sick,61,p1,\na/1.png,well,nan,,VAL\n"
        "a/9.png,sick,,,\na/2.png,sick,inf,,\n"
    )
    listing = listed(tmp_path)
    clips = {clip.name: clip for clip in listing.clips}
    first, second = clips["train/a/0.png"], clips["train/a/1.png"]
    assert first.labels == {"folder": "a", "label": "sick", "EF": 61}
    assert (first.split, first.patient, first.patient_by) == ("train", "p1", "metadata.csv")
    assert (second.split, second.split_by, second.labels["label"]) == (
        *("val", "metadata.csv"),
        "well",
    )
    assert clips["train/a/2.png"].fault == (
        "metadata.csv row 5, column EF: 'inf' is no finite number"
    )
    assert clips["train/a/9.png"].fault == MISSING
    assert listing.unlisted == [f"test/a/{number}.png" for number in range(3)]
    assert listing.tables == [tmp_path / "train" / "metadata.csv"]
    assert "as metadata.csv lists them one by one" in listing.notes[0]


def test_a_table_of_frames_gives_a_video_what_they_share(tmp_path: Path) -> None:
    rows = ["file_name,view,EF,split"]
    for video in ("a", "b"):
        for number in range(3):
            save(tmp_path / video / f"{number}.png")
            split = "test" if video == "b" and number else "train"
            rows.append(f"{video}/{number}.png,A4C,{number},{split}")
    (tmp_path / "metadata.csv").write_text("\n".join(rows))
    a, b = listed(tmp_path, folders="video").clips
    assert (a.labels, a.split, a.fault) == ({"view": "A4C"}, "train", "")
    assert b.fault == "metadata.csv says test and train of images of this video"
    (tmp_path / "metadata.csv").write_text("file_name,patient\na/0.png,p\na/1.png,q\n")
    a, b = listed(tmp_path, folders="video").clips
    assert a.fault == "metadata.csv says several patients of images of this video"
    assert (b.fault, b.patient) == ("", None)
    (tmp_path / "metadata.csv").write_text("file_name,EF\na,55\nb,60\n")
    a, b = listed(tmp_path).clips
    assert (a.name, a.labels, b.labels) == ("a", {"EF": 55}, {"EF": 60})


def test_json_lines_are_a_table(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / f"{number}.png")
    rows: list[dict[str, Any]] = [
        {"file_name": "0.png", "label": 3, "boxes": [1, 2]},
        {"file_name": "1.png", "text": "a heart"},
    ]
    table = tmp_path / "metadata.jsonl"
    table.write_text("\n".join(map(json.dumps, rows)))
    listing = listed(tmp_path)
    assert [dict(c.labels) for c in listing.clips] == [{"label": 3}, {"text": "a heart"}, {}]
    assert listing.unlisted == ["2.png"]
    for garbage in ("{", '{"name": "0.png"}', "[1]", "1", "[" * 5000):
        table.write_text(garbage)
        listing = listed(tmp_path)
        assert "metadata.jsonl is not used" in listing.notes[0]
        assert [dict(clip.labels) for clip in listing.clips] == [{}, {}, {}]
        assert not listing.unlisted


@pytest.mark.parametrize("folders", ["auto", "class", "video"])
def test_a_row_that_names_a_folder_is_said_of_all_below(tmp_path: Path, folders: str) -> None:
    for name in ("p0/0", "p0/1", "p0/1_mask", "p1/clip/0", "p1/clip/1", "test/0", "p3/0"):
        save(tmp_path / f"{name}.png")
    (tmp_path / "metadata.csv").write_text(
        "file_name,patient,split,EF\np0,A,train,55\np1/,A,train,\ntest,B,test,\ngone,C,val,\n"
    )
    listing = listed(tmp_path, folders=folders)
    clips = {clip.name: clip for clip in listing.clips}
    said = {name: (clip.patient, clip.split) for name, clip in clips.items()}
    gone, unlisted = said.pop("gone"), said.pop("p3" if folders == "video" else "p3/0.png")
    assert {name.partition("/")[0]: each for name, each in said.items()} == {
        **{"p0": ("A", "train"), "p1": ("A", "train"), "test": ("B", "test")}
    }
    assert len(said) == (3 if folders == "video" else 5)
    assert gone == unlisted == (None, None)
    assert clips["gone"].fault == MISSING
    first = clips["p0" if folders == "video" else "p0/0.png"]
    assert (first.labels["EF"], first.patient_by) == (55, "metadata.csv")
    assert listing.unlisted == ["p3" if folders == "video" else "p3/0.png"]


def test_rows_of_a_folder_and_of_its_images_agree_or_are_a_fault(tmp_path: Path) -> None:
    for name in ("a/0", "a/1", "b/0", "c/0", "d/0"):
        save(tmp_path / f"{name}.png")
    (tmp_path / "metadata.csv").write_text(
        "file_name,patient,split,EF,view\na,P,train,55,\na/0.png,,,,A4C\na/1.png,P,train,55.0,\n"
        "b,P,train,,\nb/0.png,,test,,\nc,P,,,\nc/0.png,Q,,,\nd,,,55,\nd/0.png,,,60,\n"
    )
    first, second, *others = listed(tmp_path, folders="class").clips
    assert first.labels == {"folder": "a", "EF": 55, "view": "A4C"}
    assert (first.patient, first.split, first.fault) == ("P", "train", "")
    assert (second.labels, second.fault) == ({"folder": "a", "EF": 55}, "")
    assert [clip.fault for clip in others] == [
        f"metadata.csv says {what} of a folder and of what lies in it"
        for what in ("test and train", "several patients", "several EF")
    ]


def test_a_bad_line_of_json_is_its_own_fault(tmp_path: Path) -> None:
    for number in range(4):
        save(tmp_path / f"{number}.png")
    good = [f'{{"file_name": "{number}.png", "patient": "p{number}"}}' for number in range(4)]
    bad = ["", "{", "[1]", "null", '{"file_name": "x', "[" * 5000, '{"file_name": null}']
    lines = [good[0], *bad, good[1], good[2][:-1], '{"file_name": "3.png", "EF": "\\ud800"}']
    data = "\n".join(lines).encode() + b'\n{"file_name": "\xff.png"}\r\n'
    (tmp_path / "metadata.jsonl").write_bytes(b"\xef\xbb\xbf" + data)
    listing = listed(tmp_path)
    faults = {clip.name: clip.fault for clip in listing.clips}
    assert not listing.notes
    assert [clip.patient for clip in listing.clips if not clip.fault] == ["p0", "p1"]
    assert faults.pop("2.png") == "metadata.jsonl line 10 is no JSON"
    assert faults.pop("3.png") == "metadata.jsonl line 11 is no JSON"
    assert sorted(fault for fault in faults.values() if fault) == [
        *("metadata.jsonl line 12 is no JSON", "metadata.jsonl line 3 is no JSON"),
        *("metadata.jsonl line 4 is no JSON object", "metadata.jsonl line 5 is no JSON object"),
        *("metadata.jsonl line 6 is no JSON", "metadata.jsonl line 7 is no JSON", "names no file"),
    ]


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_patient_of_digits_is_one_however_it_is_written(tmp_path: Path, ending: str) -> None:
    patients = ["7", "7.0", '"7"', '"7.0"', '"007"', '"7.5"']
    rows = []
    for number, patient in enumerate(patients):
        save(tmp_path / f"{number}.png")
        rows.append(f'{{"file_name": "{number}.png", "patient": {patient}}}')
    if ending == "csv":
        rows = ["file_name,patient", *(f"{n}.png,{text}" for n, text in enumerate(patients))]
    (tmp_path / f"metadata.{ending}").write_text("\n".join(rows))
    assert [clip.patient for clip in listed(tmp_path).clips] == ["7"] * 4 + ["007", "7.5"]


@pytest.mark.parametrize("folders", ["video", "class"])
def test_anonymous_faults_and_notes_quote_nothing(tmp_path: Path, folders: str) -> None:
    for name in ("Doe/0", "Doe/1", "Roth/0", "Sub/HUBER", "Sub/Huber", "x/Kaiser"):
        save(tmp_path / f"{name}.png")
    (tmp_path / "metadata.csv").write_text(
        "file_name,patient,split\nDoe/0.png,Kraus,Zweig Stefan\nRoth/0.png,O'Hara,test\n"
        "Roth/0.png,Rot,test\nGone Gerda.png,x,test\nsub/huber.png,y,test\nX/KAISER,Z,test,W\n"
    )
    save(tmp_path / "Wolf" / "0.png")
    (tmp_path / "Wolf" / "metadata.csv").write_text("Wolf Anna,7\n0.png,8\n")
    (tmp_path / "x" / "metadata.jsonl").write_text('{"file": "Kaiser Franz"}\n{Kaiser\n')
    listing = listed(tmp_path, folders=folders, anonymous=True)
    said = "\n".join([*listing.notes, *(clip.fault for clip in listing.clips)])
    names = "Doe Kraus Zweig Roth Hara Gerda Huber Kaiser Rot Wolf Anna"
    assert not [word for word in names.split() if word.lower() in said.lower()]
    assert "metadata.csv row 2, column split: '...' is not one of train, val, test" in said
    assert "may be any of several files: '...', '...'" in said
    assert "metadata.jsonl is not used: it is no table with a column file_name" in said
    if folders == "video":
        assert not any("folder" in clip.labels for clip in listing.clips)


def test_another_table_is_passed_over_with_a_note(tmp_path: Path) -> None:
    save(tmp_path / "0.png")
    (tmp_path / "metadata.csv").write_text("image_id,label\n0,sick\n")
    listing = listed(tmp_path)
    assert listing.clips[0].labels == {}
    assert "has no column file_name" in listing.notes[0]
    assert not listing.tables


@pytest.mark.parametrize("channels", [1, 3])
def test_an_export_is_read_back_with_its_labels(tmp_path: Path, channels: int) -> None:
    shape = (17, 21) if channels == 1 else (17, 21, 3)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 1, *shape), np.uint8)
    splits = ("train", "val", "test", "test")
    videos = [
        (Video(f"s{i}", split, labels={"view": "a, b", "EF": i + 0.5}), frames)
        for i, (split, frames) in enumerate(zip(splits, pixels, strict=True))
    ]
    preparation = Preparation((17, 21), channels)
    store: FrameStore = write_store(tmp_path / "s", preparation, videos, source={"model": "ab"})
    FORMATS["png"].write(store, 4, tmp_path / "png", silent)
    listing = listed(tmp_path / "png")
    assert [(clip.name, clip.split, clip.labels) for clip in listing.clips] == [
        (f"{i:06d}.png", split, {"seed": 0, "view": "a, b", "EF": i + 0.5})
        for i, split in enumerate(splits)
    ]
    assert not listing.notes
    assert not listing.unlisted
    for clip, frames in zip(listing.clips, pixels, strict=True):
        result = decode_clip(DecodeTask("images", 1, preparation), clip)
        np.testing.assert_array_equal(result.images, frames)
    with (tmp_path / "png" / "metadata.csv").open() as file:
        assert next(csv.reader(file)) == ["file_name", "seed", "split", "view", "EF"]


# --- pages ----------------------------------------------------------------------------------


def noise(pages: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (pages, 12, 16), dtype=np.uint8)


def save_pages(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *others = [Image.fromarray(page) for page in pixels]
    lossless = {"lossless": True} if path.suffix == ".webp" else {}
    first.save(path, save_all=True, append_images=others, **lossless)


@pytest.mark.parametrize("name", ["a.tif", "a.TIFF", "a.png", "a.apng", "a.webp"])
def test_each_page_is_a_frame(tmp_path: Path, name: str) -> None:
    save_pages(tmp_path / name, noise(5))
    (clip,) = listed(tmp_path).clips
    assert clip.name == name
    result = decode_clip(DecodeTask("images", 2, Preparation((12, 16))), clip)
    assert result.numbers == [0, 2, 4]
    np.testing.assert_array_equal(result.images, noise(5)[::2])


def test_files_of_several_pages_are_videos_of_their_own(tmp_path: Path) -> None:
    for number in range(3):
        save_pages(tmp_path / "patient" / f"{number}.tif", noise(4))
        save(tmp_path / "video" / f"{number}.png")
    listing = listed(tmp_path)
    assert names(listing) == ["patient/0.tif", "patient/1.tif", "patient/2.tif", "video"]
    assert not any(clip.labels for clip in listing.clips)
    assert len(decoded(listing.clips[0]).images) == 4


def test_pages_among_single_images_are_a_fault(tmp_path: Path) -> None:
    save(tmp_path / "video" / "0.tif", size=(16, 12))
    save_pages(tmp_path / "video" / "1.tif", noise(4))
    (clip,) = listed(tmp_path, folders="video").clips
    assert decoded(clip).fault == "1.tif has several pages, and lies among images of one page"


# --- pixels and damage ----------------------------------------------------------------------


def test_colour_images_give_luma_or_colour(tmp_path: Path) -> None:
    (clip,) = listed(save(tmp_path / "red.png", 255, "RGB")).clips
    assert levels(clip) == [round(0.299 * 255)]
    assert decoded(clip, channels=3).images[0, 0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("mode", "suffix", "level"),
    [
        *[("1", ".png", 255), ("L", ".webp", 99), ("P", ".png", 0), ("RGBA", ".png", 30)],
        *[("CMYK", ".jpg", 0), ("L", ".jpeg", 99), ("L", ".tif", 99), ("L", ".bmp", 99)],
    ],
)
def test_eight_bits_of_any_mode_are_read(
    tmp_path: Path, mode: str, suffix: str, level: int
) -> None:
    with Image.open(save(tmp_path / f"a{suffix}", level, mode)) as image:
        expected = image.convert("RGB").convert("L").getpixel((0, 0))
    (clip,) = listed(tmp_path).clips
    assert levels(clip) == [expected]


@pytest.mark.parametrize(
    ("mode", "name"), [("I;16", "deep.png"), ("F", "deep.tif"), ("I", "deep.tif")]
)
def test_deep_images_are_excluded_with_the_way_out(tmp_path: Path, mode: str, name: str) -> None:
    (clip,) = listed(save(tmp_path / name, 4000, mode)).clips
    fault = decoded(clip).fault
    assert f"{name} has pixels of mode {mode}; 8-bit images are needed: save np.rint(" in fault
    advice = fault.partition("save ")[2]
    made = eval(advice, {"np": np, "pixels": np.array([0, 2000, 4000], "f4")})
    assert made.tolist() == [0, 128, 255]


def test_only_the_format_of_the_name_is_opened(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    save(tmp_path / "b.png").rename(tmp_path / "b.jpg")
    Image.new("L", (16, 16)).save(tmp_path / "c.bmp", "GIF")
    (tmp_path / "d.webp").touch()
    assert [decoded(clip).fault for clip in listed(tmp_path).clips] == [
        "a.png is no PNG image",
        "b.jpg is no JPEG image but PNG: rename it to end in .png",
        "c.bmp is no BMP image",
        "empty file (0 bytes)",
    ]


def test_a_broken_image_is_the_fault_of_its_video_alone(tmp_path: Path) -> None:
    for video in ("a", "b", "c", "d"):
        for number in range(3):
            save(tmp_path / video / f"{number}.png", size=(64, 64))
    whole = (tmp_path / "a" / "1.png").read_bytes()
    (tmp_path / "a" / "1.png").write_bytes(whole[:-30])
    (tmp_path / "b" / "1.png").write_bytes(b"")
    save(tmp_path / "c" / "1.png", size=(200, 200))
    a, b, c, d = listed(tmp_path, folders="video").clips
    assert decoded(a).fault.startswith("1.png cannot be decoded: ")
    assert decoded(b).fault == "1.png is no PNG image"
    small = DecodeTask("images", 1, Preparation((8, 8)), LIMITS._replace(megapixels=0.01))
    assert decode_clip(small, c).fault == (
        "its images have 200x200 pixels, more than --max-megapixels 0.01 allows"
    )
    assert not decoded(d).fault
    (tmp_path / "d" / "2.png").unlink()
    assert decoded(d).fault == (
        "2.png cannot be decoded: FileNotFoundError: No such file or directory"
    )


@pytest.mark.parametrize("suffix", images.SUFFIXES)
@given(kept=st.floats(0, 1), broken=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255))))
@FUZZ
def test_a_damaged_image_never_raises_nor_names_its_folder(
    tmp_path: Path, suffix: str, kept: float, broken: list[tuple[float, int]]
) -> None:
    path = tmp_path / "video" / f"a{suffix}"
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(noise(1)[0]).save(path)
    damaged = bytearray(path.read_bytes())
    for place, change in broken:
        damaged[int(place * (len(damaged) - 1))] ^= change
    path.write_bytes(damaged[: int(kept * len(damaged))])
    for clip in (*listed(path).clips, *listed(tmp_path).clips):
        result = decoded(clip)
        assert bool(result.fault) != bool(len(result.images))
        assert str(tmp_path) not in result.fault
        assert "\n" not in result.fault


@given(
    files=st.sets(
        st.tuples(
            st.lists(st.sampled_from(["train", "test", "a", "b"]), max_size=3).map("/".join),
            st.sampled_from(["1", "2", "10", "x_mask", "x", "x_mask_1"]),
            st.sampled_from([".png", ".jpg", ".tif", ".txt"]),
        ),
        max_size=12,
    ),
    folders=st.sampled_from(["auto", "video", "class"]),
)
@FUZZ
def test_every_image_is_in_one_clip_or_unread(
    tmp_path_factory: pytest.TempPathFactory, files: set[tuple[str, str, str]], folders: str
) -> None:
    root = tmp_path_factory.mktemp("tree")
    for folder, name, suffix in files:
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / f"{name}{suffix}").touch()
    tree = scan(root)
    listing = images.clips(tree, PrepareConfig(folders=folders))
    parts = [part for clip in listing.clips for part in clip.parts or (clip.path,)]
    assert sorted([*parts, *listing.unread]) == sorted(tree.ending(images.SUFFIXES))
    assert len(set(names(listing))) == len(listing.clips)
    assert names(listing) == sorted(names(listing))


@pytest.mark.parametrize("folders", ["auto", "class"])
def test_listing_opens_few_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folders: str
) -> None:
    for number in range(3000):
        path = tmp_path / f"v{number % 10}" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    opened = []
    monkeypatch.setattr(Image, "open", lambda path, **_: opened.append(path))
    listing = listed(tmp_path, folders=folders)
    assert len(listing.clips) == (10 if folders == "auto" else 3000)
    assert len(opened) <= 60


# --- the reported folders -------------------------------------------------------------------


def test_the_reported_folders(shared_data: Path) -> None:
    cases = shared_data.parent / "cases" / "14-class-folders-of-images"
    if not cases.is_dir():
        pytest.skip(f"no {cases}")
    busi = listed(cases / "busi")
    assert len(busi.clips) == len(busi.unread) == 12
    assert {clip.labels["folder"] for clip in busi.clips} == {"benign", "malignant", "normal"}
    assert not any(decoded(clip).fault for clip in busi.clips)
    equal = listed(cases / "equal")
    assert names(equal) == ["benign", "malignant", "normal"]
    assert equal.notes[0].startswith("3 subfolders are read as videos; --folders class reads each")
    assert len(listed(cases / "equal", folders="class").clips) == 12
