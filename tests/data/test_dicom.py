"""DICOM: every photometric interpretation comes to the same grey, and no patient is named."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from echosweep.data import dicom
from echosweep.data.prepare import prepare
from echosweep.data.source import Broken
from echosweep.errors import UsageError

pydicom = pytest.importorskip("pydicom", reason="the extra `dicom` is not installed")
from pydicom import uid  # noqa: E402
from pydicom.encaps import encapsulate  # noqa: E402

SECRETS = ("Doe^Jane", "MRN-4711")


def gradient(frames: int = 6, height: int = 32, width: int = 40) -> np.ndarray:
    """Return smooth grey frames, each a little brighter than the last."""
    ramp = np.add.outer(np.arange(height), np.arange(width)) * 2
    return np.stack([(ramp + 10 * number).astype(np.uint8) for number in range(frames)])


def write(path: Path, pixels: np.ndarray, photometric: str, **attributes: Any) -> Path:
    """Write an uncompressed multi-frame DICOM file with a name and an identifier in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = uid.UltrasoundMultiFrameImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = uid.generate_uid(
        entropy_srcs=[path.name, photometric]
    )
    data.PatientName, data.PatientID = SECRETS
    data.NumberOfFrames, data.Rows, data.Columns = pixels.shape[:3]
    data.SamplesPerPixel = pixels.shape[3] if pixels.ndim == 4 else 1
    data.PhotometricInterpretation = photometric
    if data.SamplesPerPixel == 3:
        data.PlanarConfiguration = 0
    data.BitsAllocated = data.BitsStored = 8 * pixels.dtype.itemsize
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, 0
    data.PixelData = pixels.tobytes()
    for name, value in attributes.items():
        setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)
    return path


def compress_jpeg(path: Path, images: list[Image.Image], photometric: str) -> None:
    data = pydicom.dcmread(path)
    streams = []
    for image in images:
        image.save(stream := io.BytesIO(), "JPEG", quality=98, subsampling=0)
        streams.append(stream.getvalue())
    data.PixelData = encapsulate(streams)
    data.PhotometricInterpretation = photometric
    data.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit
    data["PixelData"].VR = "OB"
    data.save_as(path)


def to_ybr(grey: np.ndarray) -> np.ndarray:
    return np.stack([grey, np.full_like(grey, 100), np.full_like(grey, 150)], -1)


def read(path: Path, every: int = 1, channels: int = 1) -> list[np.ndarray]:
    (clip,) = dicom.clips(path)
    return [np.asarray(frame.image) for frame in dicom.decode(clip, every, channels)]


@pytest.mark.parametrize(
    ("photometric", "encode"),
    [
        ("MONOCHROME2", lambda grey: grey),
        ("MONOCHROME1", lambda grey: 255 - grey),
        ("RGB", lambda grey: np.stack([grey] * 3, -1)),
        ("YBR_FULL", to_ybr),
    ],
)
@pytest.mark.parametrize("rle", [False, True])
def test_grey_comes_back_to_the_pixel(
    tmp_path: Path, photometric: str, encode: Any, rle: bool
) -> None:
    grey = gradient()
    path = write(tmp_path / "a.dcm", encode(grey), photometric)
    if rle:
        data = pydicom.dcmread(path)
        data.compress(uid.RLELossless)
        data.save_as(path)
    for number, image in zip((0, 2, 4), read(path, every=2), strict=True):
        image = image if image.ndim == 2 else image[..., 0]
        np.testing.assert_array_equal(image, grey[number])


def test_uncompressed_422_has_the_luma_of_each_pixel(tmp_path: Path) -> None:
    grey = gradient()
    pairs = grey.reshape(*grey.shape[:2], -1, 2)
    chroma = np.full((*pairs.shape[:3], 1), 128, np.uint8)
    packed = np.concatenate([pairs, chroma, chroma], -1)
    path = write(
        tmp_path / "a.dcm",
        np.stack([grey] * 3, -1),
        "YBR_FULL_422",
        PixelData=packed.tobytes(),
    )
    np.testing.assert_array_equal(read(path), grey)


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "YBR_FULL"])
def test_jpeg_is_near_what_was_compressed(tmp_path: Path, photometric: str) -> None:
    grey = gradient()
    colour = photometric == "YBR_FULL"
    path = write(tmp_path / "a.dcm", to_ybr(grey) if colour else grey, photometric)
    mode = "RGB" if colour else "L"
    compress_jpeg(path, [Image.fromarray(each).convert(mode) for each in grey], photometric)
    np.testing.assert_allclose(read(path), grey, atol=4)


def test_palette_is_looked_up(tmp_path: Path) -> None:
    table = np.arange(256, dtype=np.uint16)[::-1] * 257
    attributes = {"PixelData": gradient().tobytes()}
    for colour in ("Red", "Green", "Blue"):
        attributes[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        attributes[f"{colour}PaletteColorLookupTableData"] = table.tobytes()
    path = write(tmp_path / "a.dcm", gradient(), "PALETTE COLOR", **attributes)
    images = read(path)
    assert images[0].shape == (32, 40, 3)
    np.testing.assert_array_equal([image[..., 1] for image in images], 255 - gradient())


def test_colour_is_kept_when_asked_for(tmp_path: Path) -> None:
    rgb = np.stack([gradient(), 255 - gradient(), gradient() // 2], -1)
    path = write(tmp_path / "a.dcm", rgb, "RGB")
    np.testing.assert_array_equal(read(path, channels=3), rgb)


def test_sixteen_bits_are_refused_with_a_reason(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", gradient().astype(np.uint16), "MONOCHROME2")
    with pytest.raises(Broken, match="16 bits a pixel; 8 are needed"):
        read(path)


def regions(*boxes: tuple[int, int, int, int, int]) -> list[Any]:
    found = []
    for data_type, left, top, right, bottom in boxes:
        region = pydicom.Dataset()
        region.RegionSpatialFormat, region.RegionDataType = 1, data_type
        region.RegionLocationMinX0, region.RegionLocationMinY0 = left, top
        region.RegionLocationMaxX1, region.RegionLocationMaxY1 = right, bottom
        found.append(region)
    return found


def test_only_the_first_tissue_region_is_kept(tmp_path: Path) -> None:
    found = regions((2, 0, 0, 9, 9), (1, 4, 6, 23, 25), (1, 0, 0, 5, 5))
    path = write(tmp_path / "a.dcm", gradient(), "MONOCHROME2", SequenceOfUltrasoundRegions=found)
    np.testing.assert_array_equal(read(path), gradient()[:, 6:26, 4:24])
    store = prepare(path, tmp_path / "store", size=16, workers=1)
    assert store.manifest["source"]["notes"] == {"cropped to the first 2D tissue region": 1}


def test_a_region_beyond_the_image_is_not_believed(tmp_path: Path) -> None:
    found = regions((1, 4, 6, 100, 100))
    path = write(tmp_path / "a.dcm", gradient(), "MONOCHROME2", SequenceOfUltrasoundRegions=found)
    np.testing.assert_array_equal(read(path), gradient())
    assert dicom.clips(path)[0].note.startswith("not cropped")


def test_a_store_names_no_patient_and_keeps_patients_together(tmp_path: Path) -> None:
    for number in range(8):
        name = f"MRN-{number // 2}_{number}.dcm"
        attributes = {"PatientID": f"MRN-{number // 2}"}
        write(tmp_path / "in" / name, gradient(), "MONOCHROME2", **attributes)
    store = prepare(tmp_path / "in", tmp_path / "store", workers=1)
    text = "".join(
        (store.path / name).read_text() for name in ("videos.json", "manifest.json")
    ).replace(json.dumps(store.manifest["environment"]["command"]), "")
    assert "MRN-" not in text.replace(str(tmp_path), "")
    assert "Doe" not in text
    splits: dict[str | None, set[str]] = {}
    for video in store.videos:
        splits.setdefault(video.patient, set()).add(video.split)
    assert len(splits) == 4
    assert all(len(each) == 1 for each in splits.values())


def test_the_hash_depends_on_the_files_beside_it(tmp_path: Path) -> None:
    """Who tries out all identifiers needs the instance UIDs of the data set as well."""
    write(tmp_path / "a.dcm", gradient(), "MONOCHROME2")
    alone = dicom.clips(tmp_path)[0].patient
    assert dicom.clips(tmp_path)[0].patient == alone
    write(tmp_path / "b.dcm", gradient(), "RGB", PixelData=b"")
    assert dicom.clips(tmp_path)[0].patient not in (alone, None)


def test_files_without_extension_are_known_by_their_mark(tmp_path: Path) -> None:
    write(tmp_path / "IM0001", gradient(), "MONOCHROME2")
    write(tmp_path / "1.2.840.113", gradient(), "MONOCHROME2")
    (tmp_path / "notes").write_text("not DICOM")
    (tmp_path / "short").write_bytes(b"DICM")
    assert dicom.count(tmp_path) == 2


def test_reports_are_passed_over_and_garbage_is_excluded(tmp_path: Path) -> None:
    report = pydicom.Dataset()
    report.file_meta = pydicom.dataset.FileMetaDataset()
    report.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    report.SOPClassUID, report.SOPInstanceUID = uid.BasicTextSRStorage, "1.2.3"
    report.save_as(tmp_path / "report.dcm", enforce_file_format=True)
    write(tmp_path / "a.dcm", gradient(), "MONOCHROME2")
    (tmp_path / "b.dcm").write_bytes(b"garbage")
    store = prepare(tmp_path, tmp_path / "store", max_excluded=0.5, workers=1)
    assert len(store.videos) == 1
    assert list(store.manifest["excluded"].values()) == ["not a DICOM file"]


def test_a_file_with_fewer_frames_than_it_says_is_excluded(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", gradient(), "MONOCHROME2", NumberOfFrames=9)
    with pytest.raises(ValueError, match="pixel data"):
        read(path, every=8)


def test_the_real_echocardiogram(shared_data: Path, tmp_path: Path) -> None:
    """SonoSite, JPEG YBR_FULL_422, with a region measured on a screen of twice the size."""
    store = prepare(shared_data / "a4c", tmp_path / "store", size=(60, 80), workers=1)
    assert store.images.shape == (6, 60, 80)
    assert store.index["frame"].tolist() == [0, 5, 10, 15, 20, 25]
    (video,) = store.videos
    assert "204" not in (video.patient or "")[:3]
    sector, corner = store.images[:, 15:45, 20:50], store.images[:, 50:, :5]
    assert sector.mean() > 20 > 5 > corner.mean()
    colour = prepare(shared_data / "a4c", tmp_path / "colour", size=(60, 80), channels=3, workers=1)
    luma = np.asarray(colour.images, float) @ [0.299, 0.587, 0.114]
    assert np.abs(luma - store.images).mean() < 2


def test_without_pydicom_the_fix_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.dcm", gradient(), "MONOCHROME2")
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(UsageError, match=r'pip install "echosweep\[dicom\]"'):
        prepare(tmp_path, tmp_path / "store")
