"""CAMUS and other volumes: which files are read, what they say, and how damage is told."""

import gzip
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from echosweep.config import PrepareConfig
from echosweep.data import camus, volume
from echosweep.data.clip_frames import DecodeTask, decode_clip
from echosweep.data.source import Broken, Listing
from echosweep.data.store import Preparation
from echosweep.data.tree import scan

TASK = DecodeTask("camus", 1, Preparation((12, 16)))
INFO = """\
ED: 1
ES: 4
NbFrame: 4
Sex: F
Age: 56
ImageQuality: Good
EF: 54.5
FrameRate: 47.5
"""
FUZZ = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def noise(frames: int = 4, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (frames, 12, 16), dtype=np.uint8)


def nifti(
    value: NDArray[Any],
    order: str = "<",
    spacing: tuple[float, float] = (1, 1),
    scale: tuple[float, float] = (0, 0),
) -> bytes:
    """Return a NIfTI-1 file: 348 bytes of header, 4 that say "no extension", the numbers."""
    code = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "u2": 512}[value.dtype.str[1:]]
    sizes = value.shape[::-1]
    header = struct.pack(f"{order}i36x", 348)
    header += struct.pack(f"{order}8h", len(sizes), *sizes, *[1] * (7 - len(sizes))) + bytes(14)
    header += struct.pack(f"{order}hhh", code, value.dtype.itemsize * 8, 0)
    header += struct.pack(f"{order}8f", 1, *spacing, 1, 1, 1, 1, 1)
    header += struct.pack(f"{order}3f", 352, *scale)
    header = header.ljust(344, b"\0") + b"n+1\0" + bytes(4)
    return header + value.astype(value.dtype.newbyteorder(order)).tobytes()


def meta(value: NDArray[Any], data_file: str, **more: str) -> str:
    fields = {
        **{"ObjectType": "Image", "NDims": "3", "BinaryData": "True"},
        **{"BinaryDataByteOrderMSB": "False", "ElementSpacing": "1 1 1"},
        **{"DimSize": " ".join(map(str, value.shape[::-1])), "ElementType": "MET_UCHAR"},
        **more,
        "ElementDataFile": data_file,
    }
    return "".join(f"{key} = {text}\n" for key, text in fields.items())


def put(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)
    return path


def patient(
    root: Path, who: str, parts: str = "half_sequence", form: str = "nii.gz", info: str = INFO
) -> None:
    for view in ("2CH", "4CH"):
        put(root / who / f"Info_{view}.cfg", info)
        for part in parts.split():
            value = noise() if "seq" in part else noise(1)[0]
            put(root / who / f"{who}_{view}_{part}.{form}", nifti(value))


def listed(path: Path) -> Listing:
    return camus.clips(scan(path), PrepareConfig())


def read(path: Path) -> NDArray[np.uint8]:
    return volume.read(path).pixels


# --- pixels ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII.GZ"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4", "f8", "u2"])
def test_nifti_is_read_to_the_pixel(tmp_path: Path, name: str, order: str, dtype: str) -> None:
    content = nifti(noise().astype(dtype), order)
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.lower().endswith("gz") else content)
    np.testing.assert_array_equal(read(path), noise())


def test_one_image_and_axes_of_one_are_read(tmp_path: Path) -> None:
    image = put(tmp_path / "a.nii", nifti(noise(1)[0]))
    np.testing.assert_array_equal(read(image), noise(1))
    video = put(tmp_path / "b.nii", nifti(noise()[:, None]))
    np.testing.assert_array_equal(read(video), noise())
    scaled = put(tmp_path / "c.nii", nifti(noise() // 4, scale=(2, 3)))
    np.testing.assert_array_equal(read(scaled), noise() // 4 * 2 + 3)


def test_colour_is_read(tmp_path: Path) -> None:
    content = bytearray(nifti(noise(9)))
    content[40:50], content[70:72] = struct.pack("<5h", 3, 16, 12, 3, 1), struct.pack("<h", 128)
    found = read(put(tmp_path / "a.nii", bytes(content)))
    np.testing.assert_array_equal(found, noise(9).reshape(3, 12, 16, 3))


@pytest.mark.parametrize("form", ["raw", "zraw", "LOCAL"])
def test_metaimage_is_read_to_the_pixel(tmp_path: Path, form: str) -> None:
    data = noise().tobytes()
    if form == "LOCAL":
        path = put(tmp_path / "a.mha", meta(noise(), form).encode() + data)
    else:
        packed = {"CompressedData": "True"} if form == "zraw" else {}
        put(tmp_path / f"a.{form}", zlib.compress(data) if packed else data)
        path = put(tmp_path / "a.mhd", meta(noise(), f"a.{form}", **packed))
    np.testing.assert_array_equal(read(path), noise())


@pytest.mark.parametrize("ending", ["mhd", "MHD", "mha"])
@pytest.mark.parametrize("comment", ["", "x" * 1010, "x" * 5000])
def test_the_pixels_of_another_name_are_part_of_the_video(
    tmp_path: Path, ending: str, comment: str
) -> None:
    for folder, seed in (("a", 0), ("b", 1), ("c", 0)):
        put(tmp_path / folder / "pixels.dat", noise(seed=seed).tobytes())
        put(tmp_path / folder / "video.raw", b"another")
        put(tmp_path / folder / f"video.{ending}", meta(noise(), "pixels.dat", Comment=comment))
    clips = listed(tmp_path).clips
    assert [part.name for part in clips[0].parts] == [f"video.{ending}", "pixels.dat"]
    a, b, c = [decode_clip(TASK, clip) for clip in clips]
    assert a.content == c.content != b.content
    np.testing.assert_array_equal(b.images, noise(seed=1))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *[(f"a.{end}", kind) for end in ("nii", "nii.gz", "mhd", "mha") for kind in ("u1", "f4")],
        # SimpleITK writes colours of NIfTI as an axis of vectors, which is another thing.
        *[("a.mhd", "rgb"), ("a.mha", "rgb")],
    ],
)
@pytest.mark.parametrize("compress", [False, True])
def test_files_of_another_program_are_read_alike(
    tmp_path: Path, name: str, compress: bool, kind: str
) -> None:
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    colour = kind == "rgb"
    value = np.stack([noise()] * 2 + [noise() // 2], -1) if colour else noise().astype(kind)
    image = sitk.GetImageFromArray(value, isVector=colour)
    image.SetSpacing((0.3, 0.15, 1))
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    sitk.WriteImage(image, str(tmp_path / name), compress)
    found = volume.read(tmp_path / name)
    np.testing.assert_array_equal(found.pixels, sitk.GetArrayFromImage(image))
    assert found.spacing == pytest.approx((0.3, 0.15))


def test_pixels_that_are_not_square_are_made_square(tmp_path: Path) -> None:
    tall = np.repeat(noise(), 2, axis=1)
    put(tmp_path / "tall.nii", nifti(tall, spacing=(0.3, 0.15)))
    put(tmp_path / "wide.nii", nifti(np.repeat(noise(), 2, axis=2), spacing=(0.15, 0.3)))
    put(tmp_path / "square.nii", nifti(noise(), spacing=(0.3, 0.301)))
    put(tmp_path / "odd.nii", nifti(noise(), spacing=(float("nan"), 0)))
    for clip in listed(tmp_path).clips:
        frames = [np.asarray(frame.image) for frame in camus.decode(clip, 1, 1)]
        assert np.shape(frames) == (4, 12, 16), clip.name
        if clip.name in ("square.nii", "odd.nii"):
            np.testing.assert_array_equal(frames, noise())


# --- which files, and what they say ---------------------------------------------------------


def test_a_patient_of_the_newer_release(tmp_path: Path) -> None:
    patient(tmp_path / "database_nifti", "patient0001", "half_sequence half_sequence_gt ED ED_gt")
    listing = listed(tmp_path)
    two, four = listing.clips
    assert two.name == "database_nifti/patient0001/patient0001_2CH_half_sequence.nii.gz"
    assert (two.patient, two.patient_by) == ("database_nifti/patient0001", "its folder")
    assert (two.frames, two.split) == (4, None)
    assert two.labels == {
        **{"view": "2CH", "EF": 54.5, "ED_frame": 0, "ES_frame": 3, "sex": "F", "age": 56},
        **{"image_quality": "Good", "fps": 47.5},
    }
    assert four.labels["view"] == "4CH"
    unread = {tmp_path / "database_nifti/patient0001" / f"Info_{v}.cfg" for v in ("2CH", "4CH")}
    assert {listing.unread[file] for file in unread} == {"labels of a sequence"}
    reasons = {file.name: why for file, why in listing.unread.items() if file not in unread}
    assert {name.split("_", 2)[2]: why for name, why in reasons.items()} == {
        "ED.nii.gz": "frames of a sequence that is read",
        "ED_gt.nii.gz": "mask: masks are not read",
        "half_sequence_gt.nii.gz": "mask: masks are not read",
    }
    assert listing.layout == "2 NIfTI or MetaImage files, CAMUS of 1 patient"
    np.testing.assert_array_equal(decode_clip(TASK, two).images, noise())


def test_the_first_release_has_two_people_of_one_number(tmp_path: Path) -> None:
    data = noise().tobytes()
    info = "ED: 18\nES: 1\nNbFrame: 18\nLVedv: 94.5\nLVesv: 43.3\nLVef: 54\n"
    for folder in ("training", "testing"):
        stem = tmp_path / folder / "patient0001" / "patient0001_4CH_sequence"
        put(stem.with_suffix(".mhd"), meta(noise(), stem.name + ".raw"))
        put(stem.with_suffix(".raw"), data)
        put(stem.with_name("Info_4CH.cfg"), info)
    test, train = listed(tmp_path).clips
    assert (test.split, test.split_by) == ("test", "the folders train, test")
    assert (train.split, train.patient) == ("train", "training/patient0001")
    assert test.patient == "testing/patient0001"
    assert [part.suffix for part in test.parts] == [".mhd", ".raw"]
    assert train.labels == {
        **{"view": "4CH", "EF": 54, "EDV": 94.5, "ESV": 43.3, "ED_frame": 17, "ES_frame": 0}
    }
    np.testing.assert_array_equal(decode_clip(TASK, train).images, noise())


def test_stills_are_read_where_the_sequence_is_missing(tmp_path: Path) -> None:
    patient(tmp_path, "patient0001", "ED ES ED_gt")
    listing = listed(tmp_path)
    assert [(c.labels["view"], c.labels["phase"], c.frames) for c in listing.clips] == [
        *(("2CH", "ED", 1), ("2CH", "ES", 1), ("4CH", "ED", 1), ("4CH", "ES", 1))
    ]
    assert "ED_frame" not in listing.clips[0].labels
    assert len(decode_clip(TASK, listing.clips[0]).images) == 1


def test_a_sequence_is_read_once(tmp_path: Path) -> None:
    patient(tmp_path, "patient0001", "half_sequence sequence", "nii.gz")
    patient(tmp_path, "patient0001", "half_sequence sequence", "nii")
    listing = listed(tmp_path)
    assert [c.name for c in listing.clips] == [
        f"patient0001/patient0001_{view}_sequence.nii.gz" for view in ("2CH", "4CH")
    ]
    reasons = {file: why for file, why in listing.unread.items() if file.suffix != ".cfg"}
    assert {file.name.split("_", 2)[2]: why for file, why in reasons.items()} == {
        "sequence.nii": "copy in another format",
        "half_sequence.nii": "copy in another format",
        "half_sequence.nii.gz": "frames of a sequence that is read",
    }


def test_the_lists_of_the_newer_release_give_the_splits(tmp_path: Path) -> None:
    for number in range(1, 5):
        patient(tmp_path / "database_nifti", f"patient000{number}")
    for number, name in enumerate(("training", "validation", "testing"), start=1):
        text = f"patient000{number}\r\npatient0400\r\n" if number == 1 else f"patient000{number}"
        put(tmp_path / "database_split" / f"subgroup_{name}.txt", text)
    listing = listed(tmp_path)
    assert [clip.split for clip in listing.clips[::2]] == ["train", "val", "test", None]
    assert listing.clips[0].split_by == "subgroup_*.txt"
    assert [path.name[9:] for path in listing.tables] == [
        *("testing.txt", "training.txt", "validation.txt")
    ]
    assert listing.unlisted == [clip.name for clip in listing.clips[-2:]]
    assert listing.notes == [
        "subgroup_training.txt lists 1 patients that are not there, as 'patient0400'"
    ]
    (note,) = listed(tmp_path / "database_nifti").notes
    assert "database_split beside database_nifti are not read; give the folder" in note


def test_odd_lists_cost_the_patients_they_name_and_no_other(tmp_path: Path) -> None:
    for number in range(1, 5):
        patient(tmp_path, f"Muster0{number}")
    put(tmp_path / "subgroup_training.txt", "Muster01\nmuster02\n".encode("utf-16"))
    put(tmp_path / "subgroup_val.txt", b"\xef\xbb\xbfMuster03 \xff\xfe Gone\n")
    put(tmp_path / "subgroup_validation.txt", "Muster03")
    put(tmp_path / "subgroup_testing.txt", "MUSTER02 Muster05 Muster06")
    (gone := put(tmp_path / "subgroup_test.txt", "Muster04")).touch()
    tree = scan(tmp_path)
    gone.unlink()
    gone.mkdir()
    listing = camus.clips(tree, PrepareConfig(anonymous=True))
    told = {clip.patient: (clip.split, clip.fault) for clip in listing.clips}
    fault = "its patient is in subgroup_testing.txt and in subgroup_training.txt; keep one"
    assert {who: split for who, (split, fault) in told.items() if not fault} == {
        **{"Muster01": "train", "Muster03": "val", "Muster04": None}
    }
    assert told["Muster02"][1] == fault
    assert listing.notes == [
        "subgroup_test.txt cannot be read (Is a directory): it gives no patient a split",
        "subgroup_testing.txt lists 2 patients that are not there",
        "subgroup_val.txt lists 2 patients that are not there",
    ]


def test_an_odd_info_file_costs_its_own_labels(tmp_path: Path) -> None:
    for number in range(1, 6):
        patient(tmp_path, f"Muster0{number}", info=INFO if number != 4 else "")
    infos = [tmp_path / f"Muster0{number}" / "Info_2CH.cfg" for number in range(1, 6)]
    infos[0].write_bytes(INFO.encode("utf-16"))
    infos[1].write_bytes(b"\xff\x80\n" + INFO.encode())
    tree = scan(tmp_path)
    infos[2].unlink()
    infos[2].mkdir()
    listing = camus.clips(tree, PrepareConfig())
    labels = {clip.name[:8]: clip.labels.get("EF") for clip in listing.clips[::2]}
    assert labels == dict(zip(sorted(labels), (54.5, 54.5, None, None, 54.5), strict=True))
    assert not any(clip.fault for clip in listing.clips)
    assert listing.notes == [
        "3 Info files cannot be read or say nothing, as 'Muster03/Info_2CH.cfg': so there are no "
        "labels of their sequences"
    ]
    (note,) = camus.clips(tree, PrepareConfig(anonymous=True)).notes
    assert "Muster" not in note


def test_files_of_many_patients_in_one_folder_are_told_apart(tmp_path: Path) -> None:
    for who in ("patient0001", "patient0002"):
        put(tmp_path / f"{who}_2CH_half_sequence.nii", nifti(noise()))
        put(tmp_path / f"{who}_Info_2CH.cfg", f"EF: {who[-1]}0")
    clips = listed(tmp_path).clips
    assert [(c.patient, c.patient_by, c.labels["EF"]) for c in clips] == [
        *(("patient0001", "its file name", 10), ("patient0002", "its file name", 20))
    ]
    assert [c.name for c in listed(clips[0].path).clips] == [clips[0].path.name]


def test_other_volumes_are_videos(tmp_path: Path) -> None:
    put(tmp_path / "sick" / "scan1.nii.gz", nifti(noise()))
    put(tmp_path / "scan2.mha", meta(noise(), "LOCAL").encode() + noise().tobytes())
    put(tmp_path / "scan2_gt.nii", nifti(noise()))
    listing = listed(tmp_path)
    assert camus.count(scan(tmp_path)) == 3
    assert [(c.name, c.patient, dict(c.labels)) for c in listing.clips] == [
        ("scan2.mha", None, {}),
        ("sick/scan1.nii.gz", None, {"folder": "sick"}),
    ]
    assert list(listing.unread) == [tmp_path / "scan2_gt.nii"]
    assert listing.layout == "2 NIfTI or MetaImage files"


@given(info=st.text(max_size=99) | st.from_regex(r"((ED|ES|NbFrame|EF|Age|Sex|x): *[-\w.:, ]*\n)*"))
@FUZZ
def test_any_info_file_gives_plain_labels(info: str) -> None:
    labels, frames = camus._labels(info)
    assert 0 <= frames <= 10_000
    for name in ("ED_frame", "ES_frame"):
        assert isinstance(labels.get(name, 0), int)
        assert 0 <= labels.get(name, 0) < (frames or 10_000)
    for name, value in labels.items():
        assert isinstance(value, str) == (name in ("sex", "image_quality"))
        assert isinstance(value, str) or np.isfinite(value)


@given(
    parts=st.sets(
        st.tuples(
            st.sampled_from(["training", "x", "testing"]),
            st.sampled_from(["patient1_2CH_", "patient1_4ch_", "p2_2CH_", "other_"]),
            st.sampled_from(["ED", "ES", "sequence", "half_sequence", "ED_gt", "", "SEQUENCE"]),
            st.sampled_from([".nii", ".nii.gz", ".mhd", ".mha", ".raw", ".png"]),
        ),
        max_size=12,
    )
)
@FUZZ
def test_every_volume_is_a_clip_or_unread(
    tmp_path_factory: pytest.TempPathFactory, parts: set[tuple[str, str, str, str]]
) -> None:
    root = tmp_path_factory.mktemp("tree")
    for folder, who, what, suffix in parts:
        put(root / folder / f"{who}{what}{suffix}", b"")
    tree = scan(root)
    listing = camus.clips(tree, PrepareConfig())
    found = [clip.path for clip in listing.clips]
    assert sorted([*found, *listing.unread]) == [
        file for file in tree.files if file.name.endswith(volume.SUFFIXES)
    ]
    assert len({clip.name for clip in listing.clips}) == len(listing.clips)


# --- damage ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mha", "a.mhd"])
@given(kept=st.floats(0, 0.999), broken=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255))))
@FUZZ
def test_a_cut_file_is_a_fault_and_a_damaged_one_no_crash(
    tmp_path: Path, name: str, kept: float, broken: list[tuple[float, int]]
) -> None:
    content = nifti(noise()) if "nii" in name else meta(noise(), "LOCAL").encode()
    content += b"" if "nii" in name else noise().tobytes()
    if name == "a.mhd":
        put(tmp_path / "a.raw", noise().tobytes())
        content = meta(noise(), "a.raw").encode()
    path = put(tmp_path / name, content)
    whole = path.read_bytes()
    (clip,) = listed(path).clips
    if name != "a.mhd":
        path.write_bytes(whole[: int(kept * (len(whole) - 8))])
        fault = decode_clip(TASK, clip).fault
        assert fault
        assert str(tmp_path) not in fault
    damaged = bytearray(whole)
    for place, change in broken:
        damaged[int(place * (len(whole) - 1))] ^= change
    path.write_bytes(damaged)
    result = decode_clip(TASK, clip)
    assert result.fault or len(result.images)
    assert str(tmp_path) not in result.fault


@pytest.mark.parametrize(
    ("data_file", "reason"),
    [
        *[(name, "data file is not in its folder") for name in ("../Kaiser.raw", "/etc/Kaiser")],
        *[
            (name, "data file is not in its folder")
            for name in ("Kaiser\\b.raw", "..", "", "sub/a")
        ],
        *[(name, "pixels are in several files; save them as one") for name in ("LIST", "LIST 2")],
        ("Kaiser%03d.raw 1 4 1", "pixels are in several files; save them as one"),
        *[(name, "data file is missing") for name in ("Kaiser.raw", "Kaiser Bill.raw")],
    ],
)
def test_a_header_names_no_file_elsewhere_and_its_text_is_not_quoted(
    tmp_path: Path, data_file: str, reason: str
) -> None:
    put(tmp_path / "Kaiser.raw", noise().tobytes())
    put(tmp_path / "in" / "sub" / "a", noise().tobytes())
    put(tmp_path / "in" / "a.mhd", meta(noise(), data_file))
    (clip,) = listed(tmp_path / "in").clips
    assert not clip.parts
    assert decode_clip(TASK, clip).fault == f"a.mhd: its {reason}"


def test_a_cut_data_file_is_not_named(tmp_path: Path) -> None:
    put(tmp_path / "Kaiser.raw", noise().tobytes()[:99])
    for at, more in enumerate(({}, {"HeaderSize": "100"}, {"CompressedData": "True"})):
        path = put(tmp_path / f"{at}.mhd", meta(noise(), "Kaiser.raw", **more))
        with pytest.raises(Broken, match=rf"{at}\.mhd is (truncated|cut)") as caught:
            read(path)
        assert "Kaiser" not in str(caught.value)
    with pytest.raises(Broken, match="has ElementType none that is known"):
        read(put(tmp_path / "b.mhd", meta(noise(), "Kaiser.raw", ElementType="Kaiser")))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (nifti(noise().astype("f4") / 255), r"values from 0 to 1 \(float32\); integers from 0"),
        (nifti(noise().astype("i2") * 9), r"values from 0 to 2295 \(int16\)"),
        (nifti(np.full((2, 9, 9), np.nan, "f4")), r"values from nan to nan"),
        (nifti(noise(6).reshape(2, 3, 12, 16)), r"sizes \[16, 12, 3, 2\]; only images over time"),
        (nifti(noise())[:344] + b"ni1\0" + bytes(99), r"has its pixels in an \.img file"),
        (b"\x1f\x8bgarbage", r"a\.nii is cut or damaged"),
        (b"garbage" * 100, r"a\.nii is not a NIfTI-1 file"),
        (nifti(noise())[:900], r"a\.nii is truncated: 548 of 768 bytes"),
        (
            nifti(noise())[:40] + struct.pack("<4h", 3, *[32767] * 3) + nifti(noise())[48:],
            "more than --max-megap",
        ),
    ],
)
def test_what_is_not_read_has_its_reason(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.nii"
    path.write_bytes(content)
    with pytest.raises(Broken, match=message):
        read(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ElementType": "MET_STRING"}, "ElementType MET_STRING, not plain numbers"),
        ({"BinaryData": "False"}, "pixels as text"),
        ({"DimSize": "16"}, r"sizes \[16\]"),
        ({"HeaderSize": "-1"}, "HeaderSize that is no number of 0 or more"),
        ({"CompressedData": "True"}, "cut or damaged"),
        ({"DimSize": "16 12 9"}, r"data file of a\.mhd is truncated: 768 of 1728 bytes"),
    ],
)
def test_a_wrong_header_has_its_reason(
    tmp_path: Path, change: dict[str, str], message: str
) -> None:
    put(tmp_path / "a.raw", noise().tobytes())
    with pytest.raises(Broken, match=message):
        read(put(tmp_path / "a.mhd", meta(noise(), "a.raw", **change)))


@pytest.mark.parametrize("form", ["nii", "mhd"])
def test_the_reported_folders(shared_data: Path, form: str) -> None:
    root = shared_data.parent / "cases" / "27-camus-nifti-mhd" / form
    if not root.is_dir():
        pytest.skip(f"no {root}")
    one, two = listed(root).clips
    assert (one.patient, two.patient) == ("patient0001", "patient0002")
    if form == "nii":
        assert one.labels == {"view": "2CH", "EF": 55, "ED_frame": 0, "ES_frame": 3}
    result = decode_clip(DecodeTask("camus", 1, Preparation((48, 64))), one)
    assert result.images.shape == (4, 48, 64)
    assert result.images.std() > 20
