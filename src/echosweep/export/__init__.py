"""From a finished study to folders that can be given away: weights, and images in many formats.

To add a format, write a file with `ABOUT` and `write`, and name it here. Invariant: nothing is
exported that was not searched for copies of patients, nor a copy that was found.
"""

from collections.abc import Mapping

from echosweep.export import avi, dicom, png, store
from echosweep.export.format import Format
from echosweep.registry import Registry

FORMATS: Mapping[str, Format] = Registry(
    "formats",
    {
        "store": Format("images", store.ABOUT, store.write),
        "png": Format("png", png.ABOUT, png.write, overhead=4096),
        "avi": Format("avi", avi.ABOUT, avi.write, overhead=12288),
        "dicom": Format("dicom", dicom.ABOUT, dicom.write, dicom.check, overhead=4096),
    },
)
