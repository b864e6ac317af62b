"""DICOM: what an image shows decides whether it is prepared, its regions what of it is kept."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from echosweep.config import PrepareConfig
from echosweep.data import dicom
from echosweep.data.dicom_screen import clipped
from echosweep.data.source import Clip, Listing
from echosweep.data.tree import scan

pydicom = pytest.importorskip("pydicom", reason="the extra `dicom` is not installed")

TISSUE, FLOW, SPECTRUM, M_MODE, ECG = (1, 1), (1, 2), (3, 3), (2, 1), (4, 0xA)
WIDTH, HEIGHT = 64, 48


def helpers() -> ModuleType:
    """Return the tests of pixels, whose makers of files these tests use."""
    spec = importlib.util.spec_from_file_location(
        "dicom_files", Path(__file__).with_name("test_dicom.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


files = helpers()


def region(kind: tuple[int, int], left: Any, top: Any, right: Any, bottom: Any) -> Any:
    found = pydicom.Dataset()
    found.RegionSpatialFormat, found.RegionDataType = kind
    edges = zip(("MinX0", "MinY0", "MaxX1", "MaxY1"), (left, top, right, bottom), strict=True)
    for edge, value in edges:
        if value != "missing":
            setattr(found, f"RegionLocation{edge}", value)
    return found


def write(path: Path, *regions: Any, frames: int = 3, **attributes: Any) -> Path:
    if regions:
        attributes["SequenceOfUltrasoundRegions"] = list(regions)
    pixels = files.gradient(frames, HEIGHT, WIDTH)
    return Path(files.write(path, pixels, "MONOCHROME2", **attributes))


def listing(path: Path, *keep: str) -> Listing:
    return dicom.clips(scan(path), PrepareConfig(keep=keep))


def one(path: Path) -> Clip:
    (clip,) = listing(path).clips
    assert not clip.fault
    return clip


@pytest.mark.parametrize(
    ("box", "crop"),
    [
        ((10, 8, 50, 40), (10, 8, 51, 41)),
        ((10, 8, WIDTH - 1, HEIGHT - 1), (10, 8, WIDTH, HEIGHT)),
        ((10, 8, WIDTH, HEIGHT), (10, 8, WIDTH, HEIGHT)),
        ((0, 0, WIDTH, 40), (0, 0, WIDTH, 41)),
        ((10, 8, WIDTH + 6, 40), None),
    ],
)
def test_a_region_is_clipped_to_the_image(tmp_path: Path, box: Any, crop: Any) -> None:
    clip = one(write(tmp_path / "a.dcm", region(TISSUE, *box)))
    assert (clip.crop, clip.uncropped) == (crop, crop is None)
    (frame, *_) = dicom.decode(clip, 1, 1)
    assert frame.image.size == ((crop[2] - crop[0], crop[3] - crop[1]) if crop else (WIDTH, HEIGHT))


@pytest.mark.parametrize(
    "bad",
    [
        (0, 0, 0, 0),
        (40, 8, 20, 40),
        (10, 8, 12, 40),
        (10, 10, "missing", "missing"),
        (None, 10, 50, 40),
        (10, 8, 2**32 - 1, 40),
    ],
)
def test_an_unusable_region_hides_no_good_one(tmp_path: Path, bad: Any) -> None:
    good = region(TISSUE, 10, 8, 50, 40)
    clip = one(write(tmp_path / "a.dcm", region(TISSUE, *bad), good))
    assert clip.crop == (10, 8, 51, 41)
    assert not clip.left_out


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ((10, 10, "missing", 40), "RegionLocationMaxX1 of a region is missing or odd"),
        ((None, 10, 50, 40), "RegionLocationMinX0 of a region is missing or odd"),
        ((0, 0, 0, 0), "no usable 2D tissue region"),
    ],
)
def test_a_file_is_read_without_its_bad_region(tmp_path: Path, bad: Any, why: str) -> None:
    clip = one(write(tmp_path / "a.dcm", region(TISSUE, *bad)))
    assert (clip.crop, clip.left_out, clip.note) == (None, "", f"not cropped: {why}")


def test_regions_of_a_larger_screen_are_scaled_together(tmp_path: Path) -> None:
    """The tissue alone would fit the image; the trace below it tells the size of the screen."""
    tissue, trace = region(TISSUE, 20, 10, 61, 45), region(ECG, 0, 80, 2 * WIDTH - 4, 93)
    clip = one(write(tmp_path / "a.dcm", tissue, trace))
    assert clip.crop == (10, 5, 31, 23)
    assert clip.note.endswith("measured on a screen of 2 times the size")


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_a_whole_multiple_is_believed(tmp_path: Path, factor: int) -> None:
    box = [factor * edge for edge in (8, 4, 60, 44)]
    clip = one(write(tmp_path / "a.dcm", region(TISSUE, *box)))
    assert clip.crop == (8, 4, 61, 45)


@pytest.mark.parametrize("box", [(10, 8, 80, 47), (10, 8, 70, 90), (10, 8, 400, 300)])
def test_a_screen_of_unclear_size_is_not_believed(tmp_path: Path, box: Any) -> None:
    clip = one(write(tmp_path / "a.dcm", region(TISSUE, *box)))
    assert (clip.crop, clip.uncropped) == (None, True)
    assert clip.note == "not cropped: regions reach beyond the image"


def test_a_scaled_box_holds_all_of_the_region() -> None:
    assert clipped((85, 31, 595, 415), (320, 240), 2) == (42, 15, 298, 208)


SHOWN = {
    "video": ([region(TISSUE, 5, 5, 60, 40)], 3, ""),
    "plain": ([], 3, ""),
    "with ECG": ([region(TISSUE, 5, 5, 60, 30), region(ECG, 5, 34, 60, 46)], 3, ""),
    "twice the same": ([region(TISSUE, 5, 5, 60, 40), region(TISSUE, 4, 5, 60, 41)], 3, ""),
    "spectral": ([region(SPECTRUM, 0, 20, 63, 47)], 1, "doppler"),
    "PW below": ([region(TISSUE, 5, 0, 60, 19), region(SPECTRUM, 0, 20, 63, 47)], 3, "doppler"),
    "CW": ([region((4, 4), 0, 20, 63, 47)], 1, "doppler"),
    "colour": ([region(TISSUE, 5, 5, 60, 40), region(FLOW, 20, 10, 40, 30)], 3, "doppler"),
    "colour only": ([region(FLOW, 5, 5, 60, 40)], 3, "doppler"),
    "M-mode": ([region(M_MODE, 0, 20, 63, 47)], 1, "mmode"),
    "M-mode below 2D": ([region(TISSUE, 5, 0, 60, 19), region(M_MODE, 0, 20, 63, 47)], 3, "mmode"),
    "split": ([region(TISSUE, 0, 5, 30, 40), region(TISSUE, 32, 5, 63, 40)], 3, "split"),
    "still": ([region(TISSUE, 5, 5, 60, 40)], 1, "still"),
    "plain still": ([], 1, "still"),
    "traces only": ([region(ECG, 5, 34, 60, 46)], 3, "other"),
}


@pytest.mark.parametrize("name", SHOWN)
def test_only_2d_videos_are_kept(tmp_path: Path, name: str) -> None:
    regions, frames, kind = SHOWN[name]
    write(tmp_path / "a" / "a.dcm", *regions, frames=frames)
    write(tmp_path / "b.dcm")
    clip = listing(tmp_path).clips[0]
    assert bool(clip.left_out) == bool(kind)
    assert not clip.fault
    if kind:
        assert clip.left_out.endswith(f"; --keep {kind} prepares it too")
        assert not listing(tmp_path, kind).clips[0].left_out
        assert listing(tmp_path, *{"doppler", "split", "still"} - {kind}).clips[0].left_out
    assert not any(clip.left_out for clip in listing(tmp_path, "all").clips)
    tissue = [
        each for each in regions if each.RegionDataType == 1 and each.RegionSpatialFormat == 1
    ]
    assert clip.uncropped == (not tissue)


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        ({"Modality": "MR"}, "other"),
        ({"Modality": "US"}, ""),
        ({"Modality": "OT"}, ""),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.6.2"}, "other"),
        ({"ImageType": ["DERIVED", "PRIMARY", "", "0001"]}, ""),
        ({"ImageType": ["DERIVED", "PRIMARY", "", "0011"]}, "doppler"),
        ({"ImageType": ["DERIVED", "PRIMARY", "", "0009"]}, "doppler"),
        ({"ImageType": ["DERIVED", "PRIMARY", "", "0003"]}, "mmode"),
        ({"ImageType": ["DERIVED", "PRIMARY", "", "0040"]}, "other"),
        ({"ImageType": ["DERIVED", "PRIMARY", "", "ADD"]}, ""),
    ],
)
def test_without_regions_the_header_tells_what_it_can(
    tmp_path: Path, attributes: Any, kind: str
) -> None:
    left_out = one(write(tmp_path / "a.dcm", **attributes)).left_out
    assert left_out.endswith(f"; --keep {kind} prepares it too") if kind else not left_out


def test_a_set_of_nothing_but_single_images_is_kept_and_says_so(tmp_path: Path) -> None:
    for name in "ab":
        write(tmp_path / f"{name}.dcm", frames=1)
    write(tmp_path / "c.dcm", region(SPECTRUM, 0, 20, 63, 47), frames=1)
    found = listing(tmp_path)
    assert [bool(clip.left_out) for clip in found.clips] == [False, False, True]
    assert len(found.notes) == 1
    assert "--keep still" in found.notes[0]
    assert not listing(tmp_path, "still").notes
    write(tmp_path / "d.dcm")
    found = listing(tmp_path)
    assert [bool(clip.left_out) for clip in found.clips] == [True, True, True, False]
    assert not found.notes


def test_a_look_is_the_model_and_the_screen(tmp_path: Path) -> None:
    scanner = {"Manufacturer": "ACME ", "ManufacturerModelName": "Probe 5"}
    secret = {"StationName": "ROOM7", "DeviceSerialNumber": "SN1234", "InstitutionName": "St. X"}
    looks = [
        one(
            write(tmp_path / f"{n}.dcm", region(TISSUE, 14 + n, 1, 50, 40), **scanner, **secret)
        ).look
        for n in (0, 3)
    ]
    assert looks == ["ACME Probe 5 64x48, region 16,0,48,48"] * 2
    assert one(write(tmp_path / "c.dcm")).look == "unknown scanner 64x48, no region"


def test_labels_are_plausible_and_name_nobody(tmp_path: Path) -> None:
    code = pydicom.Dataset()
    code.CodeValue, code.CodingSchemeDesignator = "399214001", "SCT"
    code.CodeMeaning = "Apical four chamber"
    good = {"ViewCodeSequence": [code], "StageName": "REST", "HeartRate": 72, "FrameTime": "20"}
    clip = one(write(tmp_path / "a.dcm", **good))
    expected = {"view": "Apical four chamber", "stage": "REST", "heart_rate": 72.0, "fps": 50.0}
    assert clip.labels == expected
    assert one(write(tmp_path / "d.dcm", PatientName="PLA", ViewName="PLAX")).labels == {
        "view": "PLAX"
    }
    odd = {"ViewName": "JANE", "HeartRate": 0, "FrameTime": "0", "CineRate": 30}
    assert one(write(tmp_path / "b.dcm", **odd)).labels == {"fps": 30.0}


def test_the_real_region_of_a_larger_screen(shared_data: Path) -> None:
    (clip,) = listing(shared_data / "a4c").clips
    assert clip.crop == (42, 15, 298, 208)
    assert clip.labels == {"fps": 30.0}
    assert clip.look == "SonoSite, Inc. Turbo 320x240, region 48,16,304,208"
    pixels = np.asarray(next(dicom.decode(clip, 1, 1)).image)
    assert pixels[:, :4].max() < 40  # the banner with the name lies left of the region


def test_a_mark_in_a_large_image_is_no_region(tmp_path: Path) -> None:
    pixels = files.gradient(2, 240, 320)
    found = [region(TISSUE, 0, 0, 15, 15), region(TISSUE, 40, 20, 300, 200)]
    path = tmp_path / "a.dcm"
    files.write(path, pixels, "MONOCHROME2", SequenceOfUltrasoundRegions=found)
    assert one(path).crop == (40, 20, 301, 201)
    assert not one(path).left_out.startswith("single")
