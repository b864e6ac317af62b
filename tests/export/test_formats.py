"""Every format: other programs read the very pixels, and are told that they are synthetic."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image

from echosweep.data.store import FrameStore, Preparation, Video
from echosweep.data.writer import write_store
from echosweep.export import FORMATS
from echosweep.progress import silent

MODEL, NUM = "ab" * 32, 5


def _avi(path: Path) -> NDArray[Any]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        assert len(frames) == container.streams.video[0].frames == 1
        return frames[0].to_ndarray(format="gray" if frames[0].format.name == "gray" else "rgb24")


def _png(path: Path) -> NDArray[Any]:
    with Image.open(path) as image:
        assert image.text["Description"].startswith("Synthetic image of no patient, NOT FOR CLIN")
        return np.asarray(image)


READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "store": ("images.npy", np.load),
    "png": ("*.png", _png),
    "avi": ("Videos/*.avi", _avi),
    "dicom": ("*.dcm", lambda path: pydicom.dcmread(path).pixel_array),
}


@pytest.fixture(scope="module", params=[1, 3], ids=["grey", "colour"])
def store(request: Any, tmp_path_factory: pytest.TempPathFactory) -> FrameStore:
    """Six images of odd height and width, so that files need padding; labels of either kind."""
    draw = np.random.default_rng(0)
    shape = (17, 21) if request.param == 1 else (17, 21, 3)
    videos = [
        (Video(f"seed-{i}", labels={"view": "a, b"}), draw.integers(0, 256, (1, *shape), np.uint8))
        for i in range(6)
    ]
    path = tmp_path_factory.mktemp("stores") / "made"
    return write_store(path, Preparation((17, 21), request.param), videos, source={"model": MODEL})


@pytest.mark.parametrize("name", FORMATS)
def test_the_pixels_are_the_same(store: FrameStore, tmp_path: Path, name: str) -> None:
    FORMATS[name].check()
    FORMATS[name].write(store, NUM, tmp_path / "out", silent)
    pattern, read = READERS[name]
    found = [read(path) for path in sorted((tmp_path / "out").glob(pattern))]
    shown = found[0] if name == "store" else np.stack(found)
    np.testing.assert_array_equal(shown, store.images[:NUM])


@pytest.mark.parametrize("name", FORMATS)
def test_written_twice_it_is_the_same(store: FrameStore, tmp_path: Path, name: str) -> None:
    for folder in ("one", "two"):
        FORMATS[name].write(store, NUM, tmp_path / folder, silent)
    for path in (tmp_path / "one").rglob("*"):
        if path.is_file() and path.name != "manifest.json":  # that says when it was written
            other = tmp_path / "two" / path.relative_to(tmp_path / "one")
            assert path.read_bytes() == other.read_bytes()


@pytest.fixture(scope="module")
def dicoms(store: FrameStore, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    out = tmp_path_factory.mktemp("dicom") / "out"
    FORMATS["dicom"].write(store, NUM, out, silent)
    return sorted(out.glob("*.dcm"))


def test_no_dicom_file_passes_for_an_image_of_a_patient(dicoms: list[Path]) -> None:
    for number, path in enumerate(dicoms):
        file = pydicom.dcmread(path)
        assert file.SOPClassUID.name == "Secondary Capture Image Storage"
        assert list(file.ImageType) == ["DERIVED", "SECONDARY"]
        assert (file.ConversionType, file.SyntheticData) == ("SYN", "YES")
        assert (file.BurnedInAnnotation, file.BitsStored) == ("NO", 8)
        assert str(file.PatientName) == "SYNTHETIC^ECHOSWEEP"
        assert file.PatientID == f"synthetic-{number:06d}"
        assert not file.PatientBirthDate
        assert not file.PatientSex
        assert not file.StudyDate
        assert MODEL in file.DerivationDescription
        assert "NOT FOR CLINICAL USE" in file.DerivationDescription
        assert "NOT FOR CLINICAL USE" in file.SeriesDescription


def test_each_image_has_uids_of_its_own(dicoms: list[Path]) -> None:
    files = [pydicom.dcmread(path) for path in dicoms]
    names = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
    uids = [file[name].value for file in files for name in names]
    assert len(set(uids)) == 3 * NUM
    assert all(uid.is_valid for uid in uids)


def _errors(path: Path) -> Iterator[str]:
    found = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    assert "SCImage" in found.stderr
    for line in found.stderr.splitlines():
        # Dictionaries older than the standard of 2023 do not know Synthetic Data.
        if line.startswith("Error") and "(0x0008,0x001c)" not in line:
            yield line


def test_dicom_files_conform(dicoms: list[Path]) -> None:
    if not shutil.which("dciodvfy"):
        pytest.skip("dciodvfy is missing; install dicom3tools")
    assert [error for path in dicoms for error in _errors(path)] == []
