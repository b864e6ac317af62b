"""DICOM ultrasound as hospitals have it, with pydicom (an optional extra).

2D videos are prepared; Doppler, M-mode, split screens and single images are left out unless they
are asked for. Where the machine says which part of the screen is tissue, only that is kept: names
are often burnt in beside it. Invariant: every DICOM file becomes a clip, with its fault or the rule
that leaves it out, or stands among the unread ones with the reason; none stops the others.
"""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from echosweep.config import PrepareConfig
from echosweep.data import dicom_pixels, dicom_screen
from echosweep.data.dicom_facts import (
    FACTS,
    frame_count,
    labels,
    look,
    missing_image,
    promised_frames,
    whose,
)
from echosweep.data.dicom_faults import check_decoder, reason
from echosweep.data.dicom_header import IMAGE, is_dicom, load_pydicom, read_header, text, whole
from echosweep.data.dicom_payload import VIDEOS, Payload, find_payload
from echosweep.data.dicom_screen import STILL, VIDEO, Box, read_screen
from echosweep.data.limits import LIMITS, Limits
from echosweep.data.source import Broken, Clip, Frame, Listing
from echosweep.data.tree import FileTree
from echosweep.data.video import decode_stream
from echosweep.errors import UsageError

LOOKS_FOR = "DICOM files (.dcm, .dicom, .ima, or known by their first bytes)"
_LEAST = 8  # bytes of a frame, however it is compressed
_HEADER = 1 << 22  # bytes of a deflated file that are inflated to list it
_LISTED = (*IMAGE, *FACTS, *dicom_screen.KEYWORDS)
_DECODED = (*IMAGE, *dicom_pixels.KEYWORDS)
_STILLS_ONLY = (
    "The DICOM files hold single images and no 2D video of several frames, so the single images "
    "are prepared, as with --keep still."
)


class _Entry(NamedTuple):
    """What became of a file: a clip of some kind, or (clip None) the reason why it is none."""

    clip: Clip | None
    kind: str = VIDEO
    unread: str = ""
    uid: str = ""


def count(tree: FileTree) -> int:
    """Return the number of DICOM files in `tree`; needs no pydicom.

    Args:
        tree: the files that there are.
    """
    return sum(map(is_dicom, tree.files))


def clips(tree: FileTree, config: PrepareConfig) -> Listing:
    """Return a clip for each DICOM file with an image; others (reports, DICOMDIR) are unread.

    The salt is made of the files' own instance UIDs: who lacks the files cannot try identifiers
    out, who has them gets the same hashes again.

    Args:
        tree: the files that there are.
        config: `keep` says what is prepared besides 2D videos.
    """
    load_pydicom()
    entries = {file: _entry(file, tree.name(file), config) for file in tree.files if is_dicom(file)}
    salt = hashlib.sha256("\n".join(sorted(each.uid for each in entries.values())).encode())
    listed, notes = _with_stills(list(entries.values()))
    return Listing(
        [entry.clip for entry in listed if entry.clip],
        "DICOM files",
        unread={file: entry.unread for file, entry in entries.items() if entry.unread},
        notes=notes,
        salt=salt.digest(),
    )


def decode(clip: Clip, every: int, channels: int, limits: Limits = LIMITS) -> Iterator[Frame]:
    """Yield every `every`-th frame, grey for channels == 1 where the file has it.

    Args:
        clip: a clip of `clips`.
        every: one frame in how many is decoded.
        channels: 1 or 3.

    Raises:
        Broken: whatever is wrong with the file, with the fix if there is one.
    """
    data, syntax = None, ""
    try:
        with clip.path.open("rb") as file:
            most = int(limits.gigabytes * 1e9) + 1
            data, unfolded = read_header(file, _DECODED, most)
            if unfolded is not file:
                limits.check_bytes(unfolded.seek(0, 2))
                data, unfolded = read_header(unfolded, _DECODED, most)
            payload = find_payload(unfolded, data)
            syntax = payload.syntax
            _check_limits(data, limits)
            for frame in _frames(data, payload, every, channels, limits):
                yield _cropped(frame, clip.crop)
    except UsageError:
        raise
    except Exception as error:  # decoders raise anything on garbage
        raise Broken(reason(error, clip.path, data, syntax)) from None


def _cropped(frame: Frame, crop: Box | None) -> Frame:
    """Return a frame without what lies beside the region; raise Broken if the region does."""
    if crop is None:
        return frame
    if crop[2] > frame.image.width or crop[3] > frame.image.height:
        size = f"{frame.image.width}x{frame.image.height}"
        raise Broken(f"frames of {size} pixels are smaller than Rows and Columns say")
    return frame._replace(image=frame.image.crop(crop))


def _check_limits(data: Any, limits: Limits) -> tuple[int, int]:
    """Return (width, height) as the header says it; raise Broken if it promises too much."""
    size = tuple(whole(data, side, 1, dicom_pixels.MAX_SIDE) for side in ("Columns", "Rows"))
    limits.check_size(size[0], size[1])
    limits.check_frames(promised_frames(data))
    return size[0], size[1]


def _frames(
    data: Any, payload: Payload, every: int, channels: int, limits: Limits
) -> Iterator[Frame]:
    if payload.syntax in VIDEOS:
        limits.check_bytes(payload.length)
        stream = io.BytesIO(b"".join(payload.read(*each) for each in payload.fragments()))
        promised = promised_frames(data)
        yield from decode_stream(stream, None, every, channels, promised, limits)
        return
    check_decoder(payload.syntax)
    converter = dicom_pixels.Converter(data, payload, channels)
    frames = frame_count(data) or payload.count(converter.frame_bytes)
    for number, encoded in payload.frames(frames, every, converter.frame_bytes):
        image, limited = converter.image(encoded)
        yield Frame(number, image, limited)


def _entry(file: Path, name: str, config: PrepareConfig) -> _Entry:
    """Return what becomes of a file, whatever is in it."""
    data = None
    try:
        if file.stat().st_size == 0:
            raise Broken("empty file (0 bytes)")
        with file.open("rb") as opened:
            data, unfolded = read_header(opened, _LISTED, _HEADER)
            uid = text(data, "SOPInstanceUID")
            if unread := missing_image(data, unfolded):
                return _Entry(None, unread=unread, uid=uid)
            clip, kind = _clip(data, Clip(name, file), unfolded, config)
            return _Entry(clip, kind, uid=uid)
    except Exception as error:  # pydicom raises anything on garbage
        fault = reason(error, file, data)
        uid = text(data, "SOPInstanceUID") if data is not None else ""
        return _Entry(Clip(name, file, fault=fault), "broken", uid=uid)


def _clip(data: Any, clip: Clip, opened: BinaryIO, config: PrepareConfig) -> tuple[Clip, str]:
    """Return `clip` with what the header says, and what it shows."""
    size = _check_limits(data, Limits.of(config))
    frames = _listed_frames(data, opened)
    screen = read_screen(data, size, frames)
    patient, patient_by, study = whose(data)
    kept = screen.kind == VIDEO or screen.kind in config.keep
    filled = replace(
        clip,
        patient=patient,
        patient_by=patient_by,
        study=study,
        labels=labels(data),
        frames=frames,
        left_out="" if kept else f"{screen.what}; --keep {screen.kind} prepares it too",
        crop=screen.crop,
        uncropped=screen.crop is None,
        look=look(data, size, screen.crop),
        note=screen.note,
    )
    return filled, screen.kind


def _listed_frames(data: Any, opened: BinaryIO) -> int:
    """Return how many frames a file promises; look at its pixel data only if it says nothing."""
    said, is_cut = frame_count(data), isinstance(opened, io.BytesIO)
    if said or is_cut:
        if not is_cut and said * _LEAST > opened.seek(0, 2):
            raise Broken(f"truncated: the file is too small for {said:,} frames")
        return said
    payload = find_payload(opened, data)
    if payload.syntax in VIDEOS:
        return 0
    return payload.count(dicom_pixels.read_format(data).frame_bytes)


def _with_stills(entries: list[_Entry]) -> tuple[list[_Entry], list[str]]:
    """Return the entries, the single images kept if there is no video, and a note that says so."""
    stills = [e for e in entries if e.kind == STILL and e.clip and e.clip.left_out]
    if not stills or any(entry.kind == VIDEO and entry.clip for entry in entries):
        return entries, []
    kept = [
        entry._replace(clip=replace(entry.clip, left_out=""))
        if entry.clip and entry.kind == STILL
        else entry
        for entry in entries
    ]
    return kept, [_STILLS_ONLY]
