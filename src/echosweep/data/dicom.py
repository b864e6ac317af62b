"""DICOM ultrasound, still or multi-frame, with pydicom (an optional extra).

Grey is the Y channel of YBR images, the luma of RGB ones. Where the machine says which part of the
screen is tissue (Ultrasound Regions, PS3.3 C.8.5.5), only that is kept: names are often burnt in
beside it. Invariant: no name or identifier of a patient leaves this module, only salted hashes.
"""

import hashlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from echosweep.config import PrepareConfig
from echosweep.data.source import Broken, Clip, Frame, Listing
from echosweep.data.tree import FileTree
from echosweep.errors import UsageError

LOOKS_FOR = "DICOM files (.dcm, or without extension and with the DICM mark)"
_2D = 1  # Region Spatial Format
_TISSUE = 1  # Region Data Type
_CROPPED = "cropped to the first 2D tissue region"
_UNCROPPED = "not cropped: no 2D tissue region within the image"
Box = tuple[int, int, int, int]


def count(tree: FileTree) -> int:
    """Return the number of DICOM files in `tree`; needs no pydicom."""
    return len(_files(tree))


def clips(tree: FileTree, config: PrepareConfig) -> Listing:
    """Return a clip for each DICOM file with an image; others (reports, DICOMDIR) are passed over.

    The salt is made of the files' own instance UIDs: who lacks the files cannot try identifiers
    out, who has them gets the same hashes again.
    """
    headers = {file: _header(file) for file in _files(tree)}
    uids = sorted(str(header.get("SOPInstanceUID", "")) for header in headers.values() if header)
    salt = hashlib.sha256("\n".join(uids).encode()).digest()
    images = ((f, header) for f, header in headers.items() if header is None or "Rows" in header)
    listed = [_clip(file, header, tree.name(file)) for file, header in images]
    return Listing(listed, "DICOM files", salt=salt)


def decode(clip: Clip, every: int, channels: int) -> Iterator[Frame]:
    """Yield every `every`-th frame, grey for channels == 1 where the file has it.

    Raises Broken for pixels of more than 8 bits; what pydicom raises for damaged data.
    """
    pydicom = _pydicom()
    dataset = pydicom.dcmread(clip.path)
    if dataset.BitsAllocated != 8:
        raise Broken(f"{dataset.BitsAllocated} bits a pixel; 8 are needed")
    decoder = pydicom.pixels.get_decoder(dataset.file_meta.TransferSyntaxUID)
    for number in range(0, int(dataset.get("NumberOfFrames") or 1), every):
        # Not iter_array: it misplaces every frame of uncompressed YBR_FULL_422 but the first.
        pixels, facts = decoder.as_array(dataset, index=number, raw=channels == 1)
        image = Image.fromarray(_as_pixels(pixels, facts, dataset))
        yield Frame(number, image.crop(clip.crop) if clip.crop else image)


def _as_pixels(pixels: NDArray[Any], facts: dict[str, Any], dataset: Any) -> NDArray[np.uint8]:
    """Return a decoded frame as (H, W) full-range grey or (H, W, 3) RGB, uint8."""
    photometric = str(facts["photometric_interpretation"])
    if photometric == "PALETTE COLOR":
        pixels = _pydicom().pixels.apply_color_lut(pixels, dataset)
        return (pixels >> 8 if pixels.dtype == np.uint16 else pixels).astype(np.uint8)
    if photometric == "MONOCHROME1":
        return ~pixels.astype(np.uint8)
    if photometric.startswith("YBR"):
        return np.ascontiguousarray(pixels[..., 0], np.uint8)
    if photometric not in ("MONOCHROME2", "RGB"):
        raise Broken(f"photometric interpretation {photometric} is not known")
    return pixels.astype(np.uint8)


def _clip(file: Path, header: Any, name: str) -> Clip:
    if header is None:
        return Clip(name, file, fault="not a DICOM file")
    study = str(header.get("StudyInstanceUID") or "").strip() or None
    patient = str(header.get("PatientID") or "").strip() or None
    crop = _tissue(header)
    return Clip(
        name=name,
        path=file,
        patient=patient or study,
        patient_by="PatientID" if patient else "StudyInstanceUID" if study else "",
        study=study,
        frames=int(header.get("NumberOfFrames") or 1),
        crop=crop,
        uncropped=crop is None,
        note=_CROPPED if crop else _UNCROPPED,
    )


def _tissue(header: Any) -> Box | None:
    """Return the first 2D tissue region as (left, top, right, bottom), None if there is none.

    A region beyond the image was measured on another screen size and says nothing.
    """
    for region in header.get("SequenceOfUltrasoundRegions") or ():
        if (region.get("RegionSpatialFormat"), region.get("RegionDataType")) == (_2D, _TISSUE):
            left, top = int(region.RegionLocationMinX0), int(region.RegionLocationMinY0)
            right, bottom = int(region.RegionLocationMaxX1), int(region.RegionLocationMaxY1)
            fits = 0 <= left < right < header.Columns and 0 <= top < bottom < header.Rows
            return (left, top, right + 1, bottom + 1) if fits else None
    return None


def _header(file: Path) -> Any:
    """Return the attributes of a DICOM file without its pixels, None if it is not one."""
    try:
        return _pydicom().dcmread(file, stop_before_pixels=True)
    except UsageError:
        raise
    except Exception:  # pydicom raises anything on garbage
        return None


def _files(tree: FileTree) -> list[Path]:
    return [file for file in tree.files if _is_dicom(file)]


def _is_dicom(file: Path) -> bool:
    """Say whether a file is DICOM by its name, or without extension by its mark at byte 128."""
    if file.suffix.lower() in (".dcm", ".dicom"):
        return True
    if file.suffix and not file.suffix[1:].isdecimal():  # UIDs as names end in a number
        return False
    with file.open("rb") as opened:
        return opened.read(132)[128:] == b"DICM"


def _pydicom() -> Any:
    try:
        import pydicom
        import pydicom.pixels
    except ImportError:
        raise UsageError(
            'DICOM needs pydicom; install it with pip install "echosweep[dicom]"'
        ) from None
    warnings.filterwarnings("ignore", module="pydicom")  # damage is noted once, as an exclusion
    return pydicom
