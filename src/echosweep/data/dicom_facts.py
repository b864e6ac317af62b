"""What the header of a DICOM file says besides its pixels: whose it is, and what may be labels.

Invariant: what goes into labels and looks names no patient, no person, no place and no device of
its own: the model of a scanner is there, its serial number is not.
"""

from typing import Any, BinaryIO

from echosweep.data.dicom_header import DIRECTORY, load_pydicom, names_patient, number, text, whole
from echosweep.data.source import Broken

FACTS = (
    *("StudyInstanceUID", "Manufacturer", "ManufacturerModelName", "ViewName", "StageName"),
    *("ViewCodeSequence", "HeartRate", "FrameTime", "CineRate", "RecommendedDisplayFrameRate"),
)
"""The attributes that are read for the functions of this module."""
_MOST_FRAMES = 2**31 - 1
_HEART_RATES, _FRAME_RATES = (20.0, 300.0), (1.0, 1000.0)
_WORD = 48  # characters of a label
_GRID = 16  # pixels to which a look rounds a region
Box = tuple[int, int, int, int]


def promised_frames(data: Any) -> int:
    """Return NumberOfFrames, 0 if it is not said; raise Broken if it is no number.

    Args:
        data: the header.
    """
    return whole(data, "NumberOfFrames", 0, _MOST_FRAMES, default=0)


def frame_count(data: Any) -> int:
    """Return how many frames a file promises; 0 if only its pixel data tell.

    Args:
        data: the header.

    Raises:
        Broken: NumberOfFrames is no number.
    """
    kind = load_pydicom().uid.UID(text(data, "SOPClassUID")).name
    return promised_frames(data) or (0 if "Multi-frame" in kind else 1)


def missing_image(data: Any, file: BinaryIO) -> str:
    """Return what a file without an image is, "" if it has one.

    Args:
        data: the header.
        file: the file, at its pixel data.

    Raises:
        Broken: an image should be there, but the file ends too soon.
    """
    meta = getattr(data, "file_meta", None) or {}
    stored = str(meta.get("MediaStorageSOPClassUID") or "")
    if DIRECTORY in (stored, text(data, "SOPClassUID")):
        return "DICOMDIR, an index of other files"
    if "Rows" in data:
        place = file.tell()
        if place >= file.seek(0, 2):
            raise Broken("truncated: the file ends before its pixel data")
        file.seek(place)
        return ""
    uid = load_pydicom().uid.UID(text(data, "SOPClassUID") or stored)
    if "Image Storage" in uid.name:
        raise Broken("truncated: the file ends before Rows, Columns and pixel data")
    if text(data, "Modality") == "SR" or uid.name.endswith("SR Storage"):
        return "report (SR), no image"
    return f"no image ({uid.name if uid.name != uid else 'an object of an unknown kind'})"


def whose(data: Any) -> tuple[str | None, str, str | None]:
    """Return the patient (else the study stands for one), what told it, and the study."""
    study = text(data, "StudyInstanceUID") or None
    if patient := text(data, "PatientID"):
        return patient, "PatientID", study
    return study, "StudyInstanceUID" if study else "", study


def labels(data: Any) -> dict[str, float | str]:
    """Return what may be labels: the view and the stage as words, rates as numbers."""
    found: dict[str, float | str] = {}
    for name, words in (("view", _view(data)), ("stage", _word(data, "StageName"))):
        if words:
            found[name] = words
    rate = number(data, "HeartRate")
    if rate is not None and _HEART_RATES[0] <= rate <= _HEART_RATES[1]:
        found["heart_rate"] = rate
    if fps := _frames_per_second(data):
        found["fps"] = fps
    return found


def look(data: Any, size: tuple[int, int], crop: Box | None) -> str:
    """Return what images of one scanner model and screen layout have in common.

    Args:
        data: the header.
        size: (width, height) of the image.
        crop: the tissue region, rounded here to 16 pixels, for depth moves it a little.
    """
    names = [_word(data, key) for key in ("Manufacturer", "ManufacturerModelName")]
    scanner = " ".join(name for name in names if name) or "unknown scanner"
    if crop is None:
        return f"{scanner} {size[0]}x{size[1]}, no region"
    edges = ",".join(str(round(edge / _GRID) * _GRID) for edge in crop)
    return f"{scanner} {size[0]}x{size[1]}, region {edges}"


def _view(data: Any) -> str:
    """Return the meaning of the view's code, else its name as the operator's protocol has it."""
    try:
        sequence = data.get("ViewCodeSequence") or ()
        meaning = next((_word(item, "CodeMeaning", data) for item in sequence), "")
    except Exception:  # pydicom raises anything on garbage
        meaning = ""
    return meaning or _word(data, "ViewName")


def _word(data: Any, keyword: str, identity: Any = None) -> str:
    """Return a short text; "" for one that is long, unprintable or has the patient's name in it."""
    value = " ".join(text(data, keyword).split())
    owner = data if identity is None else identity
    usable = 0 < len(value) <= _WORD and value.isprintable() and not names_patient(owner, value)
    return value if usable else ""


def _frames_per_second(data: Any) -> float:
    """Return the frames per second of the scan, else of its replay; 0 if none is plausible."""
    milliseconds = number(data, "FrameTime")
    rates = [1000 / milliseconds if milliseconds else None]
    rates += [number(data, key) for key in ("CineRate", "RecommendedDisplayFrameRate")]
    plausible = (r for r in rates if r is not None and _FRAME_RATES[0] <= r <= _FRAME_RATES[1])
    return round(next(plausible, 0.0), 2)
