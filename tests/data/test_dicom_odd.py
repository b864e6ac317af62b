"""DICOM: one odd file is one clip with a reason, which says what to do and names nobody."""

import contextlib
import importlib.util
import io
import re
import struct
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from echosweep.config import PrepareConfig
from echosweep.data import dicom
from echosweep.data.clip_frames import Decoded, DecodeTask, decode_clip
from echosweep.data.dicom_codestream import check_size, plugins
from echosweep.data.dicom_faults import reason
from echosweep.data.source import Broken, Clip, Listing
from echosweep.data.store import Preparation
from echosweep.data.tree import scan

pydicom = pytest.importorskip("pydicom", reason="the extra `dicom` is not installed")
from pydicom import uid  # noqa: E402
from pydicom.encaps import encapsulate  # noqa: E402

HTJ2K = "1.2.840.10008.1.2.4.201"
SECRETS = {"doe", "jane", "mrn", "4711"}


def names_someone(said: str) -> bool:
    """Say whether a text has a part of the name or identifier as a word: "doesn't" has none."""
    return bool(SECRETS & set(re.findall(r"[a-z0-9]+", said.lower())))


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


def write(path: Path, **attributes: Any) -> Path:
    return Path(files.write(path, files.gradient(), "MONOCHROME2", **attributes))


def listing(path: Path, *keep: str) -> Listing:
    return dicom.clips(scan(path), PrepareConfig(keep=keep))


def guarded(clip: Clip) -> Decoded:
    return decode_clip(DecodeTask("dicom", 1, Preparation((16, 16))), clip)


def fault_of(path: Path) -> str:
    (clip,) = listing(path).clips
    return guarded(clip).fault


def set_raw(path: Path, keyword: str, value: bytes, vr: str) -> None:
    """Give an attribute bytes that no writer would accept."""
    path.write_bytes(replaced(path.read_bytes(), keyword, vr.encode(), value))


@pytest.mark.parametrize(
    ("keyword", "value", "vr", "fault"),
    [
        ("NumberOfFrames", b"1A", "IS", "NumberOfFrames is '1A', not a whole number from 0"),
        ("NumberOfFrames", b"-3", "IS", "NumberOfFrames is '-3', not a whole number from 0"),
        ("NumberOfFrames", b"2.5 ", "IS", "NumberOfFrames is '2.5', not a whole number from 0"),
        ("NumberOfFrames", b"Jane", "IS", "NumberOfFrames is a value that is not shown"),
        ("Rows", b"\0\0", "US", "Rows is '0', not a whole number from 1 to 8192"),
        ("Rows", b"", "US", "Rows is missing"),
        ("Columns", b"\xff\xff", "US", "Columns is '65535', not a whole number from 1"),
        ("Rows", b"\x20\0\x30\0", "US", "Rows is '32\\\\48', not a whole number"),
        ("BitsAllocated", b"\x0c\0", "US", "BitsStored is 8 of 12"),
        ("BitsStored", b"\x09\0", "US", "BitsStored is '9', not a whole number from 1 to 8"),
        ("PhotometricInterpretation", b"HSV ", "CS", "PhotometricInterpretation is 'HSV', which"),
        ("SamplesPerPixel", b"\3\0", "US", "SamplesPerPixel is 3, but MONOCHROME2 has 1"),
        ("PixelRepresentation", b"\7\0", "US", "PixelRepresentation is '7', not a whole number"),
    ],
)
def test_a_bad_attribute_is_named_and_stops_nobody(
    tmp_path: Path, keyword: str, value: bytes, vr: str, fault: str
) -> None:
    write(tmp_path / "good.dcm")
    set_raw(write(tmp_path / "bad.dcm"), keyword, value, vr)
    bad, good = (guarded(clip) for clip in listing(tmp_path).clips)
    assert bad.fault.startswith(fault)
    assert not good.fault


@pytest.mark.parametrize(
    ("keyword", "value", "vr"),
    [
        ("NumberOfFrames", b"", "IS"),
        ("NumberOfFrames", b"6\0", "IS"),
        ("BitsStored", b"", "US"),
        ("HighBit", b"", "US"),
        ("PixelRepresentation", b"", "US"),
        ("PatientID", b"\xff\xfe", "US"),
        ("FrameTime", b"fast", "DS"),
        ("HeartRate", b"1\\2x", "IS"),
        ("WindowWidth", b"", "DS"),
        ("SequenceOfUltrasoundRegions", b"text", "LO"),
        ("ViewCodeSequence", b"text", "LO"),
        ("StudyInstanceUID", b"not a uid!", "UI"),
        ("SpecificCharacterSet", b"KLINGON ", "CS"),
    ],
)
def test_an_odd_optional_attribute_loses_no_file(
    tmp_path: Path, keyword: str, value: bytes, vr: str
) -> None:
    path = write(tmp_path / "a.dcm")
    set_raw(path, keyword, value, vr)
    (clip,) = listing(path).clips
    decoded = guarded(clip)
    assert (clip.fault, clip.left_out, decoded.fault, len(decoded.numbers)) == ("", "", "", 6)


def test_identifiers_lose_their_padding(tmp_path: Path) -> None:
    study = {"StudyInstanceUID": "1.2.3"}
    set_raw(write(tmp_path / "a.dcm", **study), "PatientID", b" MRN 1 \0", "LO")
    set_raw(write(tmp_path / "b.dcm", **study), "PatientID", b"   \0", "LO")
    write(tmp_path / "c.dcm", PatientID="")
    a, b, c = listing(tmp_path).clips
    assert (a.patient, a.patient_by, a.study) == ("MRN 1", "PatientID", "1.2.3")
    assert (b.patient, b.patient_by, b.study) == ("1.2.3", "StudyInstanceUID", "1.2.3")
    assert (c.patient, c.patient_by, c.study) == (None, "", None)


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("name", ["a.dcm", "noext", "1.2.840.5"])
def test_files_without_preamble_are_read(tmp_path: Path, implicit: bool, name: str) -> None:
    data = pydicom.dcmread(write(tmp_path / "whole" / "a.dcm"))
    del data.file_meta
    data.preamble = None
    encoding = {"implicit_vr": implicit, "little_endian": True}
    (tmp_path / "in").mkdir()
    pydicom.dcmwrite(tmp_path / "in" / name, data, **encoding)
    assert dicom.count(scan(tmp_path / "in")) == 1
    (clip,) = listing(tmp_path / "in").clips
    images = [np.asarray(frame.image) for frame in dicom.decode(clip, 1, 1)]
    np.testing.assert_array_equal(images, files.gradient())


def test_a_missing_transfer_syntax_is_seen_in_the_pixels(tmp_path: Path) -> None:
    for name in ("native", "RLELossless", "JPEGBaseline8Bit", "JPEG2000Lossless"):
        path = write(tmp_path / f"{name}.dcm")
        data = pydicom.dcmread(path)
        if name == "RLELossless":
            data.compress(uid.RLELossless)
        elif name != "native":
            streams = []
            for frame in files.gradient():
                kind = "JPEG" if "Baseline" in name else "JPEG2000"
                options = {"quality": 98} if kind == "JPEG" else {"no_jp2": True}
                Image.fromarray(frame).save(stream := io.BytesIO(), kind, **options)
                streams.append(stream.getvalue())
            data.PixelData = encapsulate(streams)
            data["PixelData"].VR = "OB"
            data["PixelData"].is_undefined_length = True
        del data.file_meta.TransferSyntaxUID
        pydicom.dcmwrite(path, data, implicit_vr=False, little_endian=True)
        (clip,) = listing(path).clips
        images = [np.asarray(frame.image) for frame in dicom.decode(clip, 1, 1)]
        np.testing.assert_allclose(images, files.gradient(), atol=4)


def test_other_files_are_not_taken_for_dicom(tmp_path: Path) -> None:
    write(tmp_path / "a.IMA")
    write(tmp_path / "b.0007")
    write(tmp_path / "c.unknown")
    (tmp_path / "notes").write_text("not DICOM, whatever comes after: " * 9)
    (tmp_path / "zeros").write_bytes(bytes(500))
    (tmp_path / "eights").write_bytes(b"\x08\0" * 300)
    (tmp_path / "video.avi").write_bytes((tmp_path / "a.IMA").read_bytes())
    assert dicom.count(scan(tmp_path)) == 3
    assert [clip.name for clip in listing(tmp_path).clips] == ["a.IMA", "b.0007", "c.unknown"]


def test_reports_and_directories_are_unread_with_the_reason(tmp_path: Path) -> None:
    write(tmp_path / "a.dcm")
    for name, storage in (
        ("sr", uid.BasicTextSRStorage),
        ("dir", uid.MediaStorageDirectoryStorage),
    ):
        report = pydicom.Dataset()
        report.file_meta = pydicom.dataset.FileMetaDataset()
        report.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        report.file_meta.MediaStorageSOPClassUID = report.SOPClassUID = storage
        report.file_meta.MediaStorageSOPInstanceUID = report.SOPInstanceUID = "1.2.3"
        report.save_as(tmp_path / f"{name}.dcm", enforce_file_format=True)
    found = listing(tmp_path)
    assert [clip.name for clip in found.clips] == ["a.dcm"]
    reasons = {path.name: why for path, why in found.unread.items()}
    assert reasons == {
        "dir.dcm": "DICOMDIR, an index of other files",
        "sr.dcm": "report (SR), no image",
    }


@pytest.mark.parametrize("rle", [False, True])
def test_a_file_that_is_cut_anywhere_is_called_truncated(tmp_path: Path, rle: bool) -> None:
    path = write(tmp_path / "a.dcm", SeriesDescription="x" * 50)
    if rle:
        data = pydicom.dcmread(path)
        data.compress(uid.RLELossless)
        data.save_as(path)
    content = path.read_bytes()
    pixels = content.index(struct.pack("<HH", 0x7FE0, 0x0010))
    for size in (pixels + 4, pixels + 12, pixels + 40, len(content) * 2 // 3, len(content) - 200):
        path.write_bytes(content[:size])
        assert fault_of(path).startswith("truncated"), size
    path.write_bytes(content[: pixels - 60])
    assert fault_of(path).startswith("truncated")
    path.write_bytes(b"")
    assert fault_of(path) == "empty file (0 bytes)"
    path.write_bytes(b"garbage")
    assert fault_of(path) == "not a DICOM file"


def test_a_missing_decoder_ends_in_the_package_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.dcm")
    data = pydicom.dcmread(path)
    data.PixelData = encapsulate([b"\xff\x4f\xff\x51" * 4] * 6)
    data["PixelData"].VR = "OB"
    data.file_meta.TransferSyntaxUID = HTJ2K
    data.save_as(path)
    monkeypatch.setattr(pydicom.pixels.get_decoder(HTJ2K), "_available", {})
    assert fault_of(path).endswith("pip install pylibjpeg pylibjpeg-openjpeg")
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.94"
    data.save_as(path)
    assert fault_of(path) == "transfer syntax JPIP Referenced is not read"


def test_a_reason_names_no_file_and_no_patient(tmp_path: Path) -> None:
    path = write(tmp_path / "DOE_JANE" / "MRN-4711.dcm")
    data = pydicom.dcmread(path)
    error = ValueError(f"bad value in {path}: Doe^Jane, Jane DOE (MRN-4711)\nand more")
    said = reason(error, path, data)
    assert said.startswith("cannot be decoded: ValueError: bad value in ...")
    assert not names_someone(said)
    assert reason(FileNotFoundError(2, "No such file", str(path)), path) == (
        "cannot be read: No such file"
    )


def test_decoders_that_end_their_process_are_the_last_choice() -> None:
    """GDCM aborts, and pyjpegls does not end, on frames that others refuse."""
    installed = ("gdcm", "pillow", "pyjpegls", "pylibjpeg")
    assert plugins(uid.JPEGBaseline8Bit, installed, 8) == ["pillow", "pylibjpeg"]
    assert plugins(uid.JPEG2000, ("gdcm", "pillow"), 8) == ["pillow"]
    assert plugins(uid.JPEG2000, ("gdcm",), 8) == [""]
    assert plugins(uid.JPEGLosslessSV1, ("gdcm",), 8) == [""]
    assert plugins(uid.JPEGLSLossless, installed, 8) == ["gdcm"]
    assert plugins(uid.JPEGLSLossless, installed, 7) == ["pyjpegls"]
    assert plugins(uid.RLELossless, ("pydicom",), 8) == [""]


def test_a_frame_of_another_size_reaches_no_decoder(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm")
    small = [Image.fromarray(each[:16, :24]) for each in files.gradient()]
    files.compress_jpeg(path, small, "MONOCHROME2")
    fault = "a frame of 24x16, 1 samples in a file of 40x32, 1 samples"
    assert fault_of(path) == fault
    for frame, size in (
        (b"\xff\x4f\xff\x51\0\x29\0\0" + struct.pack(">8LH", 24, 16, *[0] * 6, 3), (16, 24, 3)),
        (b"\xff\xd8\xff\xfe\0\4ab\xff\xf7\0\x0b\x08\0\x10\0\x18\1\1", (16, 24, 1)),
    ):
        check_size(frame, *size)
        with pytest.raises(Broken, match="a frame of 24x16"):
            check_size(frame, 16, 25, size[2])
        for end in range(len(frame) - 2):
            with contextlib.suppress(Broken):
                check_size(frame[:end], *size)


CASES = {
    "02-dicom-region-touches-edge": {},
    "03-dicom-one-bad-header-stops-all": {"frames/bad.dcm": "NumberOfFrames is '1A'"},
    "24-dicom-without-preamble": {},
    "25-dicom-16-bit-ultrasound": {},
    "26-dicom-reasons-without-the-fix": {"in/truncated.dcm": "truncated: 3 of 6 frames"},
    "36-dicom-doppler-and-stills-in-the-set": {},
}


@pytest.mark.parametrize("name", CASES)
def test_the_reported_cases(shared_data: Path, name: str) -> None:
    folder = shared_data.parent / "cases" / name
    if not folder.is_dir():
        pytest.skip(f"no case at {folder}")
    found = {clip.name: clip for clip in listing(folder).clips}
    assert len(found) == sum(1 for each in folder.rglob("*") if each.is_file()) - 1
    for file, clip in found.items():
        if file.endswith("htj2k.dcm"):
            ready = pydicom.pixels.get_decoder(HTJ2K).is_available
            end = "" if ready else "pip install pylibjpeg pylibjpeg-openjpeg"
            assert guarded(clip).fault.endswith(end)
            assert bool(guarded(clip).fault) != ready
            continue
        assert guarded(clip).fault.startswith(CASES[name].get(file, ""))
        assert bool(guarded(clip).fault) == (file in CASES[name])
        is_rare = file.endswith(("spectral.dcm", "mmode.dcm", "colour_only.dcm"))
        assert bool(clip.left_out) == is_rare
        if "region-touches-edge" in name and "ok" not in file:
            assert clip.crop


def valid_files() -> dict[str, bytes]:
    """Return the content of files of several kinds, with regions, a name and an identifier."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.dcm"
        regions = files.regions((1, 4, 6, 23, 25), (2, 4, 6, 23, 25))
        table = (np.arange(256) * 257).astype(np.uint16).tobytes()
        palette: dict[str, Any] = {}
        for colour in ("Red", "Green", "Blue"):
            palette[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
            palette[f"{colour}PaletteColorLookupTableData"] = table
        grey = files.gradient(3, 16, 24)
        attributes = {"SequenceOfUltrasoundRegions": regions, "HeartRate": 60, "FrameTime": "33"}
        files.write(path, grey, "MONOCHROME2", **attributes)
        found["native"] = path.read_bytes()
        data = pydicom.dcmread(path)
        data.compress(uid.RLELossless)
        data.save_as(path)
        found["rle"] = path.read_bytes()
        files.write(path, grey, "MONOCHROME2")
        files.compress_jpeg(path, [Image.fromarray(each) for each in grey], "MONOCHROME2")
        found["jpeg"] = path.read_bytes()
        files.write(path, grey, "PALETTE COLOR", **palette)
        found["palette"] = path.read_bytes()
        windowed = {"WindowCenter": "900", "WindowWidth": "300", "PixelRepresentation": 1}
        files.write(path, grey.astype(np.int16) * 9, "MONOCHROME2", **windowed)
        found["window"] = path.read_bytes()
    return found


VALID = valid_files()


def check_odd_file(content: bytes) -> None:
    """Assert that a file becomes a clip or is unread, beside a good one that stays good."""
    with tempfile.TemporaryDirectory() as folder:
        bad, good = Path(folder) / "bad.dcm", Path(folder) / "good.dcm"
        bad.write_bytes(content)
        good.write_bytes(VALID["native"])
        found = listing(Path(folder), "all")
        names = {clip.name for clip in found.clips} | {path.name for path in found.unread}
        assert names == {"bad.dcm", "good.dcm"}
        for clip in found.clips:
            decoded = guarded(clip)
            assert bool(decoded.fault) != bool(decoded.numbers)
            assert clip.name == "bad.dcm" or not decoded.fault
            assert "\n" not in decoded.fault
            assert not names_someone(decoded.fault)
            assert not names_someone(clip.look)


fuzz = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@fuzz
@given(
    st.sampled_from(sorted(VALID)),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_flipped_bytes_stop_nobody(kind: str, flips: list[tuple[float, int]]) -> None:
    content = bytearray(VALID[kind])
    for place, value in flips:
        at = 132 + int(place**2 * (len(content) - 133))  # the header more often than the pixels
        content[at] = value
    check_odd_file(bytes(content))


@fuzz
@given(st.sampled_from(sorted(VALID)), st.floats(0, 1), st.binary(max_size=20))
def test_cut_files_stop_nobody(kind: str, place: float, end: bytes) -> None:
    content = VALID[kind]
    check_odd_file(content[: int(place**2 * len(content))] + end)


KEYWORDS = (
    *("NumberOfFrames", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "Modality"),
    *("SamplesPerPixel", "PhotometricInterpretation", "PixelRepresentation", "PatientID"),
    *("PlanarConfiguration", "SequenceOfUltrasoundRegions", "ImageType", "SOPClassUID"),
    *("HeartRate", "FrameTime", "WindowCenter", "WindowWidth", "RescaleSlope", "ViewName"),
    *("VOILUTSequence", "ViewCodeSequence", "RedPaletteColorLookupTableDescriptor"),
)
VALUES = st.one_of(
    st.binary(max_size=12),
    st.integers(0, 2**32 - 1).map(lambda n: n.to_bytes(4, "little")),
    st.integers(0, 2**16 - 1).map(lambda n: n.to_bytes(2, "little")),
    st.integers(-(10**9), 10**9).map(lambda n: str(n).encode()),
    st.sampled_from(
        [b"", b"1e400", b"nan", b"inf", b"\\", b"1\\2", b"\xfe\xff\x00\xe0" + bytes(4)]
    ),
    st.sampled_from(
        [b"MONOCHROME1", b"RGB ", b"YBR_FULL_422", b"YBR_PARTIAL_422", b"PALETTE COLOR"]
    ),
)
VRS = st.sampled_from([b"IS", b"DS", b"US", b"UL", b"SQ", b"LO", b"OB", b"UN", b"CS", b"FD", b"zz"])


def replaced(content: bytes, keyword: str, vr: bytes, value: bytes) -> bytes:
    """Return a file (explicit, little endian) with an element put in its place, or replaced."""
    tag = pydicom.tag.Tag(keyword)
    long = vr in (b"SQ", b"OB", b"UN")
    head = struct.pack("<HH", tag.group, tag.element) + vr
    head += struct.pack("<HL", 0, len(value)) if long else struct.pack("<H", len(value))
    place = 132 + 12 + struct.unpack("<L", content[140:144])[0]
    while content[place : place + 4] != struct.pack("<HH", 0x7FE0, 0x0010):
        group, element, its_vr, length = struct.unpack("<HH2sH", content[place : place + 8])
        end = place + 8 + length
        if its_vr in (b"SQ", b"OB", b"OW", b"UN"):
            end = place + 12 + struct.unpack("<L", content[place + 8 : place + 12])[0]
        if (group, element) >= (tag.group, tag.element):
            end = end if (group, element) == (tag.group, tag.element) else place
            return content[:place] + head + value + content[end:]
        place = end
    return content[:place] + head + value + content[place:]


@fuzz
@given(
    st.sampled_from(sorted(VALID)),
    st.lists(st.tuples(st.sampled_from(KEYWORDS), VRS, VALUES), min_size=1, max_size=3),
)
def test_odd_attributes_stop_nobody(kind: str, odd: list[tuple[str, bytes, bytes]]) -> None:
    content = VALID[kind]
    for keyword, vr, value in odd:
        content = replaced(content, keyword, vr, value)
    check_odd_file(content)


@fuzz
@given(
    st.lists(
        st.tuples(
            *[st.integers(0, 5)] * 2, *[st.sampled_from([0, 3, 8, 15, 23, 24, 46, 2**32 - 1])] * 4
        ),
        max_size=4,
    )
)
def test_a_crop_lies_within_the_image(boxes: list[tuple[int, ...]]) -> None:
    content = io.BytesIO(VALID["native"])
    data = pydicom.dcmread(content)
    regions = []
    for shape, kind, *edges in boxes:
        region = pydicom.Dataset()
        region.RegionSpatialFormat, region.RegionDataType = shape, kind
        for edge, value in zip(("MinX0", "MinY0", "MaxX1", "MaxY1"), edges, strict=True):
            setattr(region, f"RegionLocation{edge}", value)
        regions.append(region)
    data.SequenceOfUltrasoundRegions = regions
    with tempfile.TemporaryDirectory() as folder:
        data.save_as(path := Path(folder) / "a.dcm")
        (clip,) = listing(path, "all").clips
        assert not guarded(clip).fault
        if clip.crop:
            left, top, right, bottom = clip.crop
            assert 0 <= left < right <= 24
            assert 0 <= top < bottom <= 16
