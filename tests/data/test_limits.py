"""Files of a few bytes that promise, or unfold to, more than a machine has.

Each is listed and decoded in this process, whose memory is measured: what a header promises is
never taken, and what is packed is unfolded up to the limit.
"""

import contextlib
import gzip
import io
import os
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echosweep.config import PrepareConfig
from echosweep.data.clip_frames import DecodeTask, decode_clip
from echosweep.data.kinds import find
from echosweep.data.limits import Limits
from echosweep.data.prepare import prepare
from echosweep.data.source import Guard
from echosweep.data.store import FILES, FrameStore, Preparation
from echosweep.data.tables import read_table
from echosweep.errors import EchoSweepError, UsageError

SMALL = PrepareConfig(max_gigabytes=0.01)  # 10 MB
MEGABYTE = 1_000_000


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
    """Fail where 30 MB are held at any moment: each bomb promises more, or unfolds to more."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 30 * MEGABYTE
    finally:
        tracemalloc.stop()


def fault(source: Path, config: PrepareConfig = SMALL) -> str:
    """Return why the one clip of `source` is broken, listed or decoded."""
    with little_memory():
        found = find(source, config)
        (clip,) = found.listing.clips
        task = DecodeTask(found.kind, 1, Preparation((16, 16)), Limits.of(config))
        return decode_clip(task, clip).fault


def refusal(source: Path) -> str:
    """Return why `source` as a whole is refused."""
    with little_memory(), pytest.raises(UsageError) as refused:
        find(source, SMALL)
    return str(refused.value)


def deflated(data: bytes, megabytes: int, after: bytes = b"") -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    middle = (packer.compress(bytes(MEGABYTE)) for _ in range(megabytes))
    return packer.compress(data) + b"".join(middle) + packer.compress(after) + packer.flush()


# --- DICOM ----------------------------------------------------------------------------------


def dicom(**values: Any) -> tuple[bytes, bytes, bytes]:
    """Return the parts of a file: meta information, header, pixel data element."""
    pydicom = pytest.importorskip("pydicom", reason="the extra `dicom` is not installed")
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = values.pop("syntax", pydicom.uid.ExplicitVRLittleEndian)
    data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.3.1", "1.2.3"
    data.NumberOfFrames, data.Rows, data.Columns = 4, 16, 20
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    for name, value in values.items():
        setattr(data, name, value)
    whole = io.BytesIO()
    data.save_as(whole, enforce_file_format=True)
    begin = whole.getvalue().index(b"\x08\0\x16\0UI")
    meta, header = whole.getvalue()[:begin], whole.getvalue()[begin:]
    return (
        meta,
        header,
        b"\xe0\x7f\x10\0OB\0\0" + struct.pack("<I", 4 * 320) + bytes(range(256)) * 5,
    )


DEFLATED = "1.2.840.10008.1.2.1.99"


@pytest.mark.parametrize("megabytes", [0, 40])
def test_deflated_dicom_unfolds_up_to_the_limit(tmp_path: Path, megabytes: int) -> None:
    meta, header, pixels = dicom()
    length = struct.pack("<H", len(DEFLATED))
    meta = meta.replace(b"\x14\0001.2.840.10008.1.2.1\0", length + DEFLATED.encode())
    (tmp_path / "a.dcm").write_bytes(meta + deflated(header + pixels, megabytes))
    expected = "it unfolds to 0.0 GB or more, and --max-gigabytes allows 0.01" if megabytes else ""
    assert fault(tmp_path) == expected


def test_a_deflated_header_unfolds_up_to_a_bound(tmp_path: Path) -> None:
    meta, header, pixels = dicom()
    length = struct.pack("<H", len(DEFLATED))
    meta = meta.replace(b"\x14\0001.2.840.10008.1.2.1\0", length + DEFLATED.encode())
    private = b"\x08\0\x01\0UN\0\0" + struct.pack("<I", 40 * MEGABYTE)
    (tmp_path / "a.dcm").write_bytes(meta + deflated(private, 40, header + pixels))
    assert "header is cut off" in fault(tmp_path)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"NumberOfFrames": 2_000_000_000}, "2,000,000,000 frames, more than --max-frames 100000"),
        ({"NumberOfFrames": 99_999}, "truncated: the file is too small for 99,999 frames"),
        ({"Rows": 65535, "Columns": 65535}, "Columns is '65535', not a whole number from 1 to"),
        ({"Rows": 8192, "Columns": 8192}, "8192x8192 pixels, more than --max-megapixels 64 allows"),
        ({"Rows": 8000, "Columns": 8000}, "truncated: 0 of 4 frames"),
    ],
)
def test_what_a_dicom_header_promises_is_not_taken(
    tmp_path: Path, values: dict[str, int], reason: str
) -> None:
    (tmp_path / "a.dcm").write_bytes(b"".join(dicom(**values)))
    assert reason in fault(tmp_path)


def test_dicom_of_deep_sequences_and_endless_fragments_is_broken_alone(tmp_path: Path) -> None:
    meta, header, pixels = dicom()
    (tmp_path / "0.dcm").write_bytes(meta + header + pixels)
    nested = b"\x54\0\x20\x02SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff" * 10_000
    (tmp_path / "1.dcm").write_bytes(meta + header + nested + pixels)
    name = b"\x10\0\x10\0UN\0\0" + struct.pack("<I", 3_000_000_000)
    with (tmp_path / "2.dcm").open("wb") as file:
        file.write(meta + header + name)
        file.truncate(3_000_001_000)
    with little_memory():
        good, nest, long = find(tmp_path, SMALL).listing.clips
    assert not good.fault
    assert nest.fault == "the header is cut off or damaged: RecursionError"
    assert long.fault == "its header has an element of 3,000 MB"


# --- arrays ---------------------------------------------------------------------------------


def npy_header(shape: str, descr: str = "|u1") -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text


def zipped(path: Path, *members: bytes, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for number, member in enumerate(members):
            archive.writestr(f"{number}.npy", member)
    return path


@pytest.mark.parametrize(
    ("header", "zeros", "reason"),
    [
        (npy_header("(1000, 400, 100)"), 40, "unfolds to 0.0 GB or more, and --max-gigabytes"),
        (npy_header("(1000000000000, 100, 100)"), 1, "unfolds to 10,000,000.0 GB or more"),
        (b"\x93NUMPY\x02\0\xff\xff\xff\xff", 40, "not a plain NumPy array"),
        (b"no array", 40, "not a plain NumPy array: the magic string is not correct"),
        (npy_header("(4, 9, 9)", "|O"), 0, "allow_pickle"),
        (npy_header("(-4, 9, 9)"), 1, "not a plain NumPy array"),
        (npy_header("(" * 5000), 0, "not a plain NumPy array"),
    ],
)
def test_packed_arrays_unfold_up_to_the_limit(
    tmp_path: Path, header: bytes, zeros: int, reason: str
) -> None:
    path = zipped(tmp_path / "a.npz", header + bytes(zeros * MEGABYTE))
    assert reason in refusal(path)


def test_packings_without_a_bound_are_refused(tmp_path: Path) -> None:
    content = npy_header("(40, 9, 9)") + bytes(3240)
    path = zipped(tmp_path / "a.npz", content, method=zipfile.ZIP_BZIP2)
    assert "packed as NumPy does not pack" in refusal(path)
    assert find(zipped(tmp_path / "b.npz", content), SMALL).listing.clips


def test_a_long_table_of_contents_is_not_read(tmp_path: Path) -> None:
    path, long = tmp_path / "a.npz", 40 * MEGABYTE
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, long, 4, 0)
    path.write_bytes(b"PK\3\4" + bytes(long) + end)
    assert "its table of contents has 40,000,000 bytes, for one array" in refusal(path)


@pytest.mark.parametrize(
    ("header", "size", "reason"),
    [
        (npy_header("(1000000000000, 8, 8)"), 0, "1,000,000,000,000 rows; save it in parts"),
        (npy_header("(1000000000, 8, 8)"), 64 * 10**9, "1,000,000,000 rows; save it in parts"),
        (npy_header("(1000000, 99, 99)"), 0, "not a plain NumPy array"),
        (b"\x93NUMPY\x02\0\xff\xff\xff\xff", 5 * 10**9, "not a plain NumPy array"),
    ],
)
def test_sparse_arrays_are_not_believed(
    tmp_path: Path, header: bytes, size: int, reason: str
) -> None:
    path = tmp_path / "a.npy"
    with path.open("wb") as file:
        file.write(header)
        file.truncate(max(size, len(header)))
    assert reason in refusal(path)


# --- NIfTI and MetaImage --------------------------------------------------------------------


def nifti(width: int, height: int, frames: int, data: bytes) -> bytes:
    header = bytearray(352)
    header[:4], header[344:348] = struct.pack("<i", 348), b"n+1\0"
    header[40:56] = struct.pack("<8h", 3, width, height, frames, 1, 1, 1, 1)
    header[70:74], header[108:112] = struct.pack("<2h", 2, 8), struct.pack("<f", 352)
    return bytes(header) + data


@pytest.mark.parametrize(
    ("sizes", "data", "reason"),
    [
        ((1000, 1000, 40), bytes(40 * MEGABYTE), "unfolds to 0.0 GB or more"),
        ((32767, 32767, 1), b"", "32767x32767 pixels, more than --max-megapixels 64 allows"),
        ((1000, 1000, 9), b"", "is truncated: 0 of 9000000 bytes"),
        ((8, 16, 30), bytes(40 * MEGABYTE), ""),
    ],
)
def test_nifti_unfolds_up_to_the_limit(
    tmp_path: Path, sizes: tuple[int, int, int], data: bytes, reason: str
) -> None:
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(nifti(*sizes, data), 1))
    found = fault(tmp_path)
    assert reason in found if reason else not found


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [
        ("1000 1000 40", "unfolds to 0.0 GB or more"),
        ("999999999 999999999 999999999", "pixels, more than --max-megapixels 64 allows"),
        ("8 8 200000", "200,000 frames, more than --max-frames 100000 allows"),
        ("9 " * 5000, "has 5000 axes"),
        ("8 16 30", ""),
    ],
)
def test_metaimage_unfolds_up_to_the_limit(tmp_path: Path, sizes: str, reason: str) -> None:
    header = f"DimSize = {sizes}\nElementType = MET_UCHAR\nCompressedData = True\n"
    packer = zlib.compressobj()
    data = b"".join(packer.compress(bytes(MEGABYTE)) for _ in range(40)) + packer.flush()
    (tmp_path / "a.mha").write_bytes(header.encode() + b"ElementDataFile = LOCAL\n" + data)
    found = fault(tmp_path)
    assert reason in found if reason else not found


def test_a_line_without_its_equals_sign_is_the_fault_of_its_clip(tmp_path: Path) -> None:
    (tmp_path / "a.mhd").write_text("DimSize = 8 16 30\nElementDataFile\n")
    assert "no ElementDataFile in it" in fault(tmp_path)


def test_a_data_file_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    header = "DimSize = 8 16 30\nElementType = MET_UCHAR\nElementDataFile = a.raw\n"
    (tmp_path / "a.mhd").write_text(header)
    os.mkfifo(tmp_path / "a.raw")
    assert "it is a pipe or a device, not a file" in fault(tmp_path)


# --- tables and what is no file -------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size", "reason"),
    [
        ("FileName,EF", 10**10, "it has more than 64 MiB"),
        ("a," * MEGABYTE + "\n", 0, "has more than 10,000 columns; is it a table?"),
        ("x" * MEGABYTE + "\n", 0, "has no column FileName"),
    ],
)
def test_endless_tables_are_refused(tmp_path: Path, text: str, size: int, reason: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    if size:
        os.truncate(path, size)
    with little_memory(), pytest.raises(UsageError) as refused:
        read_table(path, ["FileName"])
    assert reason in str(refused.value)
    assert len(str(refused.value)) < 1000


def test_whatever_a_reader_raises_is_the_fault_of_its_file() -> None:
    for error in (MemoryError(), RecursionError("deep"), struct.error("short"), KeyError("x")):
        with Guard() as guard:
            raise error
        assert guard.fault.startswith("cannot be read: ")
    with pytest.raises(AssertionError), Guard():
        raise AssertionError
    with pytest.raises(KeyboardInterrupt), Guard():
        raise KeyboardInterrupt


def test_a_store_with_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 8, 8), np.uint8))
    store = prepare(tmp_path / "a.npy", tmp_path / "store", size=8, workers=1).path
    for name in FILES:
        content = (store / name).read_bytes()
        (store / name).unlink()
        os.mkfifo(store / name)
        for verify in (True, False):
            with pytest.raises(EchoSweepError, match="a pipe or a device, not a file"):
                FrameStore.open(store, verify=verify)
        (store / name).unlink()
        (store / name).write_bytes(content)


def test_odd_files_in_a_folder_are_named_and_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.dcm")
    (tmp_path / "b.npy").symlink_to("/dev/zero")
    (tmp_path / "FileList.csv").symlink_to("/dev/zero")
    (tmp_path / "c.nii").write_bytes(nifti(8, 16, 2, bytes(256)))
    found = find(tmp_path, SMALL)
    assert sorted(found.tree.odd.values()) == ["device, not a file"] * 2 + ["pipe, not a file"]
    assert [clip.name for clip in found.listing.clips] == ["c.nii"]
    for path in (tmp_path / "a.dcm", Path("/dev/zero")):
        assert "is a pipe or a device" in refusal(path)
