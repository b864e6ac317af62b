"""Who is one patient: by the source, by a folder, by a pattern in the names, or by assumption.

Frames of one patient in two splits flatter every number, so the manner is always kept and said.
Invariant: a pattern decides for all videos, or the call says that it need not; names of patients
that differ in case or blanks alone are one patient.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from echosweep.config import PrepareConfig
from echosweep.data.source import Clip
from echosweep.data.split_words import folder_splits
from echosweep.errors import UsageError

ASSUMED = "assumed one a video"
_NO_WAY = {
    "study": "no file names its study, which DICOM alone does; give --patient-regex, or a table",
    "folder": "all files are in one folder, which tells nothing; give --patient-regex, or a table",
}


def tell_patients(clips: Sequence[Clip], config: PrepareConfig, secret: bool) -> list[Clip]:
    """Return `clips` with the patient of each, and with what told it.

    Args:
        clips: As the source lists them, under their real names.
        config: `patient_from`, `patient_regex` and `allow_unmatched` decide.
        secret: Whether the names of files may not be shown.

    Raises:
        UsageError: A pattern is wrong or does not fit every video; no video has what is asked for.
    """
    folders = folder_splits(clip.name for clip in clips) if config.patient_from == "folder" else {}
    told = [
        _tell(clip, config.patient_from, folders.get(clip.name, ("", clip.name))[1])
        for clip in clips
    ]
    if config.patient_from != "auto" and not any(clip.patient_by for clip in told):
        raise UsageError(f"patient-from {config.patient_from}: {_NO_WAY[config.patient_from]}")
    if config.patient_regex is None:
        return _one_spelling(told)
    regex = _pattern(config.patient_regex)
    named = [_match(clip, regex) for clip in told]
    _check_fit(told, named, config, secret)
    return _one_spelling([new or old for new, old in zip(named, told, strict=True)])


def _one_spelling(clips: Sequence[Clip]) -> list[Clip]:
    """Return `clips` with one spelling a patient: "Pat1", "pat1" and "pat1 " are one.

    To take two patients for one does no harm; to take one for two puts them in two splits.
    """
    first: dict[str, str] = {}
    return [
        clip
        if clip.patient is None
        else replace(clip, patient=first.setdefault(_plain(clip.patient), clip.patient))
        for clip in clips
    ]


def _plain(patient: str) -> str:
    return unicodedata.normalize("NFKC", patient).casefold().strip()


def patient_group(clip: Clip) -> str:
    """Return what must stay together: the patient, or the video where none is known."""
    return f"video {clip.name}" if clip.patient is None else f"patient {clip.patient}"


def _tell(clip: Clip, manner: str, name: str) -> Clip:
    """Return `clip` with the patient by `manner`; `name`: its own without a split's folder."""
    if manner == "video":
        return replace(clip, patient=None, patient_by="--patient-from video")
    if manner == "study":
        return replace(clip, patient=clip.study, patient_by="its study" if clip.study else "")
    if manner == "folder":
        folder = PurePosixPath(name).parent.as_posix()
        known = folder != "."
        return replace(
            clip, patient=folder if known else None, patient_by="its folder" if known else ""
        )
    return clip


def _pattern(text: str) -> re.Pattern[str]:
    try:
        regex = re.compile(text)
    except re.error as error:
        raise UsageError(f"patient-regex '{text}' is not a pattern: {error}") from None
    if not regex.groups:
        raise UsageError(
            f"patient-regex '{text}' has no group; put ( ) around the part that is the patient, as "
            "'(pat[0-9]+)'"
        )
    return regex


def _match(clip: Clip, regex: re.Pattern[str]) -> Clip | None:
    found = regex.search(clip.name)
    if not found or not found[1]:
        return None
    return replace(clip, patient=found[1], patient_by="--patient-regex")


def _check_fit(
    clips: Sequence[Clip], named: Sequence[Clip | None], config: PrepareConfig, secret: bool
) -> None:
    unfit = [clip.name for clip, new in zip(clips, named, strict=True) if new is None]
    if not unfit or (config.allow_unmatched and len(unfit) < len(clips)):
        return
    such = "" if secret else f", as {', '.join(map(repr, unfit[:3]))}"
    if len(unfit) == len(clips):
        raise UsageError(f"patient-regex '{config.patient_regex}' fits no video{such}")
    raise UsageError(
        f"patient-regex '{config.patient_regex}' does not fit {len(unfit)} of {len(clips)} "
        f"videos{such}; write one that fits all ((?i) at its start ignores case), or give "
        "--allow-unmatched: then each of these is a patient of its own"
    )
