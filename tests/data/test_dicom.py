"""DICOM: every photometric interpretation comes to the same grey, and no patient is named."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from echosweep.config import PrepareConfig
from echosweep.data import dicom
from echosweep.data.clip_frames import Decoded, DecodeTask, decode_clip
from echosweep.data.prepare import prepare
from echosweep.data.source import Broken, Clip, Listing
from echosweep.data.store import Preparation
from echosweep.data.tree import scan
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


def listing(path: Path, *keep: str) -> Listing:
    return dicom.clips(scan(path), PrepareConfig(keep=keep))


def clip_of(path: Path) -> Clip:
    (clip,) = listing(path).clips
    return clip


def guarded(clip: Clip, every: int = 1) -> Decoded:
    return decode_clip(DecodeTask("dicom", every, Preparation((16, 16))), clip)


def read(path: Path, every: int = 1, channels: int = 1) -> list[np.ndarray]:
    clip = clip_of(path)
    assert not clip.fault
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


def luma(frames: int = 3) -> np.ndarray:
    """Return values from 0 to 255 in every frame, each of them once."""
    return np.stack([np.roll(np.arange(256, dtype=np.uint8), n) for n in range(frames)]).reshape(
        frames, 16, 16
    )


def test_eight_bits_stored_in_sixteen_are_the_same_pixels(tmp_path: Path) -> None:
    pixels = gradient().astype(np.uint16)
    path = write(tmp_path / "a.dcm", pixels, "MONOCHROME2", BitsStored=8, HighBit=7)
    np.testing.assert_array_equal(read(path), gradient())
    inverted = write(tmp_path / "b.dcm", pixels, "MONOCHROME1", BitsStored=8, HighBit=7)
    np.testing.assert_array_equal(read(inverted), 255 - gradient())


def test_eight_bits_that_are_called_sixteen_are_not_made_black(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", gradient().astype(np.uint16), "MONOCHROME2")
    np.testing.assert_array_equal(read(path), gradient())
    later = gradient().astype(np.uint16)
    later[4] += 300
    path = write(tmp_path / "b.dcm", later, "MONOCHROME2")
    with pytest.raises(Broken, match="samples reach from 340 to"):
        read(path)


def test_sixteen_bits_go_through_the_window(tmp_path: Path) -> None:
    pixels = luma().astype(np.uint16) * 16 + 1000
    window = {"WindowCenter": "3040.5", "WindowWidth": "4081"}  # from 1000 to 5080
    path = write(tmp_path / "a.dcm", pixels, "MONOCHROME2", **window)
    np.testing.assert_array_equal(read(path), luma())
    exact = {"WindowCenter": "3040", "WindowWidth": "4080", "VOILUTFunction": "LINEAR_EXACT"}
    path = write(tmp_path / "b.dcm", pixels, "MONOCHROME2", **exact)
    np.testing.assert_array_equal(read(path), luma())
    rescaled = {"WindowCenter": "510.5", "WindowWidth": "1021", "RescaleSlope": "0.25"}
    rescaled["RescaleIntercept"] = "-250"
    path = write(tmp_path / "c.dcm", pixels, "MONOCHROME2", **rescaled)
    np.testing.assert_array_equal(read(path), luma())


def test_a_sigmoid_window_is_half_bright_in_its_centre(tmp_path: Path) -> None:
    window = {"WindowCenter": "900", "WindowWidth": "300", "VOILUTFunction": "SIGMOID"}
    pixels = np.full((1, 16, 16), 900, np.uint16)
    pixels[0, 0, :3] = 0, 60000, 1000
    image = read(write(tmp_path / "a.dcm", pixels, "MONOCHROME2", **window))[0]
    assert image[0, :4].tolist() == [0, 255, round(255 / (1 + np.exp(-4 / 3))), 128]


def test_a_lookup_table_of_values_of_interest_is_looked_up(tmp_path: Path) -> None:
    table = pydicom.Dataset()
    table.LUTDescriptor = [4096, 0, 16]
    table.LUTData = (np.arange(4096)[::-1] // 16 * 257).astype(np.uint16).tolist()
    table["LUTData"].VR = "US"
    pixels = luma().astype(np.uint16) * 16
    path = write(
        tmp_path / "a.dcm",
        pixels,
        "MONOCHROME2",
        BitsStored=12,
        HighBit=11,
        VOILUTSequence=[table],
    )
    np.testing.assert_array_equal(read(path), 255 - luma())


def test_sixteen_bits_without_window_are_read_by_their_range(tmp_path: Path) -> None:
    pixels = luma().astype(np.uint16) * 257
    path = write(tmp_path / "a.dcm", pixels, "MONOCHROME2")
    np.testing.assert_array_equal(read(path), luma())
    colour = np.stack([pixels, pixels[:, ::-1], pixels // 2], -1)
    path = write(tmp_path / "b.dcm", colour, "RGB")
    images = np.stack(read(path, channels=3))
    np.testing.assert_array_equal(images[..., 0], luma())
    np.testing.assert_allclose(images[..., 2], luma() / 2, atol=0.51)


@pytest.mark.parametrize("bits", [4, 7])
def test_fewer_than_eight_bits_are_stretched(tmp_path: Path, bits: int) -> None:
    largest = 2**bits - 1
    pixels = luma() >> (8 - bits)
    path = write(tmp_path / "a.dcm", pixels, "MONOCHROME2", BitsStored=bits, HighBit=bits - 1)
    np.testing.assert_array_equal(read(path), np.floor(pixels * (255 / largest) + 0.5))


def test_signed_samples_begin_at_black(tmp_path: Path) -> None:
    for kind in (np.int8, np.int16):
        half = 128 if kind == np.int8 else 32768
        factor = 1 if kind == np.int8 else 257
        pixels = (luma().astype(int) * factor - half).astype(kind)
        path = write(tmp_path / f"{half}.dcm", pixels, "MONOCHROME2", PixelRepresentation=1)
        np.testing.assert_array_equal(read(path), luma())


def test_samples_in_the_upper_bits_are_moved_down(tmp_path: Path) -> None:
    pixels = luma().astype(np.uint16) << 8
    path = write(tmp_path / "a.dcm", pixels, "MONOCHROME2", BitsStored=8, HighBit=15)
    np.testing.assert_array_equal(read(path), luma())


def test_a_palette_of_sixteen_bit_places_is_looked_up(tmp_path: Path) -> None:
    table = (np.arange(1024) // 4 * 257).astype(np.uint16)
    attributes: dict[str, Any] = {"BitsStored": 10, "HighBit": 9}
    for colour in ("Red", "Green", "Blue"):
        attributes[f"{colour}PaletteColorLookupTableDescriptor"] = [1024, 0, 16]
        attributes[f"{colour}PaletteColorLookupTableData"] = table.tobytes()
    pixels = luma().astype(np.uint16) * 4
    path = write(tmp_path / "a.dcm", pixels, "PALETTE COLOR", **attributes)
    np.testing.assert_array_equal([image[..., 2] for image in read(path)], luma())


@pytest.mark.parametrize("bits", [8, 16])
def test_palette_entries_of_eight_bits_are_not_made_black(tmp_path: Path, bits: int) -> None:
    table = np.arange(256)[::-1].astype(np.uint8 if bits == 8 else np.uint16)
    attributes = {}
    for colour in ("Red", "Green", "Blue"):
        attributes[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
        attributes[f"{colour}PaletteColorLookupTableData"] = table.tobytes()
    path = write(tmp_path / "a.dcm", luma(), "PALETTE COLOR", **attributes)
    np.testing.assert_array_equal([image[..., 0] for image in read(path)], 255 - luma())


def test_planes_of_colours_are_put_together(tmp_path: Path) -> None:
    rgb = np.stack([gradient(), 255 - gradient(), gradient() // 2], -1)
    planes = np.ascontiguousarray(np.moveaxis(rgb, -1, 1)).tobytes()
    path = write(tmp_path / "a.dcm", rgb, "RGB", PlanarConfiguration=1, PixelData=planes)
    np.testing.assert_array_equal(read(path, channels=3), rgb)


def test_limited_range_is_stretched(tmp_path: Path) -> None:
    """16 is black and 235 is white, in grey (by the frame's mark) and in colour (by us)."""
    grey = np.zeros((2, 16, 16), np.uint8)
    grey[0], grey[1] = 16, 235
    pairs = grey.reshape(2, 16, 8, 2)
    packed = np.concatenate([pairs, np.full((2, 16, 8, 2), 128, np.uint8)], -1)
    path = write(
        tmp_path / "a.dcm",
        np.stack([grey] * 3, -1),
        "YBR_PARTIAL_422",
        PixelData=packed.tobytes(),
    )
    frames = list(dicom.decode(clip_of(path), 1, 1))
    assert [frame.limited for frame in frames] == [True, True]
    np.testing.assert_array_equal([np.asarray(frame.image) for frame in frames], grey)
    assert guarded(clip_of(path)).images.mean((1, 2)).tolist() == [0, 255]
    assert [image.mean() for image in read(path, channels=3)] == [0, 255]


@pytest.mark.parametrize(
    "syntax", ["ExplicitVRBigEndian", "ImplicitVRLittleEndian", "DeflatedExplicitVRLittleEndian"]
)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_every_native_encoding_comes_to_the_same_pixels(
    tmp_path: Path, syntax: str, kind: Any
) -> None:
    path = write(
        tmp_path / "a.dcm", luma().astype(kind) * (257 if kind == np.uint16 else 1), "MONOCHROME2"
    )
    data = pydicom.dcmread(path)
    if syntax == "ExplicitVRBigEndian":
        words = np.frombuffer(data.PixelData, np.uint16).byteswap().tobytes()
        data.PixelData = words
        data["PixelData"].VR = "OW"
    data.file_meta.TransferSyntaxUID = getattr(uid, syntax)
    encoding = {"little_endian": "Big" not in syntax, "implicit_vr": "Implicit" in syntax}
    pydicom.dcmwrite(path, data, enforce_file_format=True, **encoding)
    np.testing.assert_array_equal(read(path), luma())


@pytest.mark.parametrize("photometric", ["YBR_RCT", "RGB"])
def test_jpeg_2000_is_decoded(tmp_path: Path, photometric: str) -> None:
    rgb = np.stack([gradient(), 255 - gradient(), gradient() // 2], -1)
    path = write(tmp_path / "a.dcm", rgb, photometric)
    data = pydicom.dcmread(path)
    streams = []
    for frame in rgb:
        options = {"irreversible": False, "mct": int(photometric == "YBR_RCT")}
        Image.fromarray(frame).save(stream := io.BytesIO(), "JPEG2000", no_jp2=True, **options)
        streams.append(stream.getvalue())
    data.PixelData = encapsulate(streams)
    data.file_meta.TransferSyntaxUID = uid.JPEG2000Lossless
    data["PixelData"].VR = "OB"
    data.save_as(path)
    np.testing.assert_array_equal(read(path, channels=3), rgb)


def test_jpeg_ls_of_seven_bits_is_decoded(tmp_path: Path) -> None:
    jpeg_ls = pytest.importorskip("jpeg_ls", reason="pyjpegls is not installed")
    pixels = luma() >> 1
    path = write(tmp_path / "a.dcm", pixels, "MONOCHROME2", BitsStored=7, HighBit=6)
    data = pydicom.dcmread(path)
    size = {"rows": 16, "columns": 16, "samples_per_pixel": 1, "bits_stored": 7}
    streams = [bytes(jpeg_ls.encode_pixel_data(each.tobytes(), **size)) for each in pixels]
    data.PixelData = encapsulate(streams)
    data["PixelData"].VR = "OB"
    data.file_meta.TransferSyntaxUID = uid.JPEGLSLossless
    data.save_as(path)
    np.testing.assert_array_equal(read(path), np.floor(pixels * (255 / 127) + 0.5))


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video", "libx265"])
@pytest.mark.parametrize("container", [".mp4", ".ts", "raw"])
def test_videos_in_dicom_show_the_frames_that_a_player_shows(
    tmp_path: Path, videos: Any, codec: str, container: str
) -> None:
    frames = videos.numbered(12, size=64, step=16)
    options = {"crf": "10", "bf": "2"} if codec != "mpeg2video" else {"bf": "2", "qmin": "1"}
    raw = {"libx264": ".h264", "mpeg2video": ".m2v", "libx265": ".hevc"}[codec]
    name = f"v{raw if container == 'raw' else container}"
    video = videos.write(tmp_path / name, frames, codec, "yuv420p", **options)
    syntax = {"libx264": 102, "mpeg2video": 100, "libx265": 107}[codec]
    path = write(tmp_path / "a.dcm", np.stack([frames] * 3, -1), "YBR_PARTIAL_420")
    data = pydicom.dcmread(path)
    data.PixelData = encapsulate([video.read_bytes()], fragments_per_frame=3)
    data.file_meta.TransferSyntaxUID = f"1.2.840.10008.1.2.4.{syntax}"
    data["PixelData"].VR = "OB"
    data.save_as(path)
    kept = list(dicom.decode(clip_of(path), 3, 1))
    assert [frame.number for frame in kept] == [0, 3, 6, 9]
    assert all(frame.limited for frame in kept)
    means = [np.asarray(frame.image).mean() for frame in kept]
    np.testing.assert_allclose(means, [0, 48, 96, 144], atol=3)
    data.NumberOfFrames = 20
    data.save_as(path)
    assert guarded(clip_of(path)).fault == "truncated: 12 of 20 frames"


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
    found = regions((13, 0, 0, 9, 9), (1, 4, 6, 23, 25), (1, 0, 0, 5, 5))
    path = write(tmp_path / "a.dcm", gradient(), "MONOCHROME2", SequenceOfUltrasoundRegions=found)
    np.testing.assert_array_equal(read(path), gradient()[:, 6:26, 4:24])
    store = prepare(path, tmp_path / "store", size=16, workers=1)
    assert store.manifest["source"]["notes"] == {"cropped to the first 2D tissue region": 1}


def test_a_region_beyond_the_image_is_not_believed(tmp_path: Path) -> None:
    found = regions((1, 4, 6, 100, 100))
    path = write(tmp_path / "a.dcm", gradient(), "MONOCHROME2", SequenceOfUltrasoundRegions=found)
    np.testing.assert_array_equal(read(path), gradient())
    assert clip_of(path).note == "not cropped: regions reach beyond the image"
    assert clip_of(path).uncropped


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
    alone = listing(tmp_path).salt
    assert listing(tmp_path).salt == alone
    write(tmp_path / "b.dcm", gradient(), "MONOCHROME1")
    assert listing(tmp_path).salt not in (alone, b"")


def test_files_without_extension_are_known_by_their_mark(tmp_path: Path) -> None:
    write(tmp_path / "IM0001", gradient(), "MONOCHROME2")
    write(tmp_path / "1.2.840.113", gradient(), "MONOCHROME2")
    (tmp_path / "notes").write_text("not DICOM")
    (tmp_path / "short").write_bytes(b"DICM")
    assert dicom.count(scan(tmp_path)) == 2


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
    with pytest.raises(Broken, match="truncated: 6 of 9 frames"):
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
