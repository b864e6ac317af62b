"""What a DICOM ultrasound image shows, and which part of the screen is tissue.

Ultrasound Regions (PS3.3 C.8.5.5) say where on the screen which data lie: Region Spatial Format
(1: 2D, 2: M-mode, 3: spectral, 5: graphics) and Region Data Type (1: tissue, 2: colour flow, 3 and
4: Doppler). Names are often burnt in beside the regions. Invariant: a box that is returned lies
within the image; a region that cannot be believed takes nothing away.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from echosweep.config.prepare import MIN_SIDE
from echosweep.data.dicom_header import number, shown_value, text

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels; right and bottom lie outside."""
VIDEO, DOPPLER, MMODE, SPLIT, STILL, OTHER = "", "doppler", "mmode", "split", "still", "other"
KEYWORDS = ("SequenceOfUltrasoundRegions",)
_2D, _M_MODE, _SPECTRAL, _GRAPHICS = 1, 2, 3, 5
_TISSUE, _FLOW, _PULSED, _CONTINUOUS = 1, 2, 3, 4
_EDGES = tuple(f"RegionLocation{edge}" for edge in ("MinX0", "MinY0", "MaxX1", "MaxY1"))
_SLACK = 0.02  # so far beyond the image, a region is clipped; further out, it is another screen
_FILLED = 0.75  # the share of a screen, across and down, that the regions reach
_FACTORS = (2, 3, 4)
_FARTHEST = 1 << 14
_SMALLEST = 12  # a region has at least this fraction of the sides of the image
_OVERLAP = 0.5  # regions that share more of the smaller one are one screen
_ULTRASOUND = ("US", "OT", "SC", "")  # Modality; screens are also stored as other, or captures
_VOLUME = "1.2.840.10008.5.1.4.1.1.6.2"


class Screen(NamedTuple):
    """What an image shows (a word of `SCREENS`, "" for a 2D video), why, and the box to keep."""

    kind: str
    what: str
    crop: Box | None
    note: str


class _Region(NamedTuple):
    """A region and its box, as it is written."""

    kind: str
    box: Box


def read_screen(data: Any, size: tuple[int, int], frames: int) -> Screen:
    """Return what an image shows and which part of it to keep.

    Args:
        data: the data set.
        size: (width, height) of the image.
        frames: how many frames the image has.
    """
    regions, trouble = _regions(data)
    kind, what = _class(data, regions, frames)
    tissue = [region.box for region in regions if region.kind == "tissue"]
    if not tissue:
        return Screen(kind, what, None, f"not cropped: {trouble or _missing(data)}")
    factor = _factor([region.box for region in regions], size)
    if not factor:
        return Screen(kind, what, None, "not cropped: regions reach beyond the image")
    scaled = [clipped(box, size, factor) for box in tissue]
    crop = next((box for box in scaled if _is_large(box, size)), None)
    if crop is None:
        return Screen(kind, what, None, "not cropped: the 2D tissue region is too small")
    note = "cropped to the first 2D tissue region"
    if factor > 1:
        note += f", measured on a screen of {factor} times the size"
    return Screen(kind, what, crop, note)


def clipped(box: Box, size: tuple[int, int], factor: int) -> Box:
    """Return the part of a box that lies in an image, whose screen was `factor` times as large."""
    left, top, right, bottom = box
    return (
        left // factor,
        top // factor,
        min(size[0], -(-right // factor)),
        min(size[1], -(-bottom // factor)),
    )


def _factor(boxes: Sequence[Box], size: tuple[int, int]) -> int:
    """Return how many times larger the screen of the regions is than the image; 0: unknown.

    A larger screen is believed only if it is a whole multiple and the regions nearly fill it.
    """
    reach = [max(box[side + 2] for box in boxes) for side in (0, 1)]
    if _within(reach, size, 1):
        return 1
    for factor in _FACTORS:
        if _within(reach, size, factor):
            filled = min(end / (factor * side) for end, side in zip(reach, size, strict=True))
            return factor if filled >= _FILLED else 0
    return 0


def _within(reach: Sequence[int], size: tuple[int, int], factor: int) -> bool:
    """Say whether regions end in the image; one pixel is what the exclusive convention needs."""
    return all(
        end <= factor * side + max(1, _SLACK * side) for end, side in zip(reach, size, strict=True)
    )


def _regions(data: Any) -> tuple[list[_Region], str]:
    """Return the regions that have an area, and what is wrong with the others."""
    found, trouble = [], ""
    try:
        sequence = list(data.get("SequenceOfUltrasoundRegions") or ())
    except Exception:  # pydicom raises anything on garbage
        return [], "SequenceOfUltrasoundRegions cannot be read"
    for region in sequence:
        try:
            edges = [number(region, keyword) for keyword in _EDGES]
            kind = _region_kind(region)
        except Exception:
            trouble = trouble or "a region cannot be read"
            continue
        numbers = [edge for edge in edges if edge is not None and 0 <= edge < _FARTHEST]
        if len(numbers) < len(_EDGES):
            odd = next(k for k, edge in zip(_EDGES, edges, strict=True) if edge not in numbers)
            trouble = trouble or f"{odd} of a region is missing or odd"
            continue
        left, top, right, bottom = map(int, numbers)
        if _is_large(box := (left, top, right + 1, bottom + 1)):
            found.append(_Region(kind, box))
    return found, trouble


def _region_kind(region: Any) -> str:
    shape, content = number(region, "RegionSpatialFormat"), number(region, "RegionDataType")
    if shape == _M_MODE:
        return MMODE
    if shape == _SPECTRAL or (content in (_PULSED, _CONTINUOUS) and shape != _GRAPHICS):
        return "spectral"
    if shape == _2D:
        return {_TISSUE: "tissue", _FLOW: "flow"}.get(int(content or 0), "")
    return ""


def _class(data: Any, regions: Sequence[_Region], frames: int) -> tuple[str, str]:
    """Return the class of an image and its name; the rarer kinds come first."""
    kinds = {region.kind for region in regions}
    kinds |= _image_type(data, bool(regions))
    modality = text(data, "Modality").upper()
    tissue = [region.box for region in regions if region.kind == "tissue"]
    if modality not in _ULTRASOUND:
        return OTHER, f"modality {shown_value(data, modality)}, not ultrasound"
    if "volume" in kinds or text(data, "SOPClassUID") == _VOLUME:
        return OTHER, "3D volume"
    if "spectral" in kinds:
        return DOPPLER, "spectral Doppler"
    if MMODE in kinds:
        return MMODE, "M-mode"
    if "flow" in kinds:
        return DOPPLER, "colour Doppler"
    if regions and not tissue:
        return OTHER, "no 2D tissue region"
    if any(_share(box, tissue[0]) < _OVERLAP for box in tissue[1:]):
        return SPLIT, "split screen"
    return (VIDEO, "2D video") if frames != 1 else (STILL, "single image")


def _image_type(data: Any, has_regions: bool) -> set[str]:
    """Return what value 4 of Image Type says (PS3.3 C.8.5.6.1.1): a sum of modes, in hexadecimal.

    Regions say better where spectra and M-modes are, so these count only where there are none.
    """
    values = text(data, "ImageType").split("\\")
    if len(values) < 4 or not re.fullmatch("0[0-9A-Fa-f]{3}", values[3]):
        return set()
    modes = int(values[3], 16)
    kinds = {0x110: "flow", 0x40: "volume"}
    if not has_regions:
        kinds |= {0x0C: "spectral", 0x22: MMODE}
    return {kind for mask, kind in kinds.items() if modes & mask}


def _share(one: Box, other: Box) -> float:
    """Return how much of the smaller of two boxes the other covers."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return max(0, width) * max(0, height) / smaller


def _is_large(box: Box, size: tuple[int, int] = (0, 0)) -> bool:
    """Say whether a box is no mark, but large enough for an image of a heart."""
    least = [max(MIN_SIDE, side // _SMALLEST) for side in size]
    return box[2] - box[0] >= least[0] and box[3] - box[1] >= least[1]


def _missing(data: Any) -> str:
    there = "SequenceOfUltrasoundRegions" in data
    return "no usable 2D tissue region" if there else "no region information"
