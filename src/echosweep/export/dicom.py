"""Images as DICOM files: Secondary Capture (PS3.3 A.8.1), derived, and marked as synthetic.

The standard has words for this: Conversion Type SYN (C.8.6.1), Synthetic Data YES (C.12.1). Names
and dates are those of nobody; UIDs are a hash of the model and the seed, so the same image is the
same object wherever it is stored. Invariant: no file passes for an image of a patient.
"""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echosweep.data.store import FrameStore
from echosweep.errors import UsageError
from echosweep.export.format import WARNING, Picture, describe, each
from echosweep.progress import Progress

_UNKNOWN = (
    *("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber"),
    *("ReferringPhysicianName", "Laterality", "PatientOrientation"),
)
ABOUT = """\
`NNNNNN.dcm`: DICOM Secondary Capture, 8 bits, uncompressed. Each is a study of its own, of a
patient `SYNTHETIC^ECHOSWEEP` whose ID is `synthetic-NNNNNN`; Image Type is `DERIVED\\SECONDARY`,
Conversion Type `SYN`, Synthetic Data `YES`, and the Derivation Description names the model and the
seed. **Keep them out of an archive that clinicians read.**

```python
import pydicom

image = pydicom.dcmread("000000.dcm").pixel_array
```"""


def check() -> None:
    """Raise UsageError without pydicom."""
    try:
        import pydicom  # noqa: F401
    except ImportError:
        raise UsageError(
            'format dicom needs pydicom; install it with pip install "echosweep[dicom]"'
        ) from None


def write(store: FrameStore, num: int, out: Path, progress: Progress) -> None:
    """Write the first `num` images as `out`/NNNNNN.dcm."""
    out.mkdir(exist_ok=True)
    for picture in each(store, num, progress):
        dataset = _dataset(store, picture)
        dataset.save_as(out / f"{picture.name}.dcm", enforce_file_format=True)


def _dataset(store: FrameStore, picture: Picture) -> Any:
    """Return the attributes and pixels of one image, all that its IOD wants and no more."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    drawn = [store.manifest["source"]["model"], store.content, picture.name]
    image, series, study = (
        generate_uid(entropy_srcs=[*drawn, what]) for what in ("image", "series", "study")
    )
    uids = {"SOPInstanceUID": image, "SeriesInstanceUID": series, "StudyInstanceUID": study}
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    for keyword, value in {**uids, **_words(store, picture), **_pixels(picture.pixels)}.items():
        setattr(dataset, keyword, value)
    return dataset


def _words(store: FrameStore, picture: Picture) -> dict[str, Any]:
    """Return who and what this is, by keyword: nobody, and synthetic. Empty: wanted, unknown."""
    return {
        **dict.fromkeys(_UNKNOWN, ""),
        "PatientName": "SYNTHETIC^ECHOSWEEP",
        "PatientID": f"synthetic-{picture.name}",
        "PatientComments": f"No patient: synthetic, {WARNING}",
        "StudyDescription": f"SYNTHETIC, {WARNING}",
        "SeriesDescription": f"SYNTHETIC, {WARNING}",
        "SeriesNumber": 1,
        "InstanceNumber": 1,
        "Modality": "US",
        "ConversionType": "SYN",
        "Manufacturer": "EchoSweep",
        "ManufacturerModelName": "diffusion model",
        "SoftwareVersions": version("echosweep"),
        "ImageType": ["DERIVED", "SECONDARY"],
        "SyntheticData": "YES",
        "DerivationDescription": describe(store, picture),
        "BurnedInAnnotation": "NO",
        "LossyImageCompression": "00",
    }


def _pixels(image: NDArray[np.uint8]) -> dict[str, Any]:
    """Return the pixel module by keyword, of (H, W) or (H, W, 3)."""
    grey = image.ndim == 2
    data = image.tobytes()
    return {
        "SamplesPerPixel": 1 if grey else 3,
        "PhotometricInterpretation": "MONOCHROME2" if grey else "RGB",
        **({} if grey else {"PlanarConfiguration": 0}),
        "Rows": image.shape[0],
        "Columns": image.shape[1],
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
        "PixelData": data + b"\0" * (len(data) % 2),
    }
