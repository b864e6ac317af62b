"""What is to be prepared: a source read, patients told, splits taken, names hidden; no pixel yet.

Invariant: every clip that the source lists is in `clips` or in `left_out`, under the names that may
be written; what was decided on the way is in the fields that `summary` reads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from echosweep.config import PrepareConfig
from echosweep.data import kinds
from echosweep.data.patients import tell_patients
from echosweep.data.pseudonyms import Hashes, identifies, write_key
from echosweep.data.source import Clip
from echosweep.data.split_words import folder_splits
from echosweep.data.splits import own_splits
from echosweep.errors import UsageError

_SECRET_KINDS = ("dicom",)  # whose file names hospitals make of the patient's
_BURNT_IN = "not cropped, so text may be burnt in (--deidentify)"


class PreparePlan(NamedTuple):
    """What `prepare` will do.

    Attributes:
        config: The options.
        found: The source as its kind reads it.
        name: What the store calls the source.
        clips: What will be decoded, in order, with names that may be shown.
        left_out: The rule that leaves a clip out, by the clip's name.
        notes: Decisions in words.
        hashes: Names to hashes where names may not be shown, else None.
    """

    config: PrepareConfig
    found: kinds.Found
    name: str
    clips: Sequence[Clip]
    left_out: Mapping[str, str]
    notes: Sequence[str]
    hashes: Hashes | None


def make_plan(source: Path, config: PrepareConfig, name_key: Path | None = None) -> PreparePlan:
    """Read the source and decide everything that needs no pixel.

    Args:
        source: A folder or file.
        config: The options.
        name_key: Where to write which hash is which file.

    Raises:
        UsageError: The source or an option is wrong.
    """
    found = kinds.find(source, config)
    secret = config.anonymous or found.kind in _SECRET_KINDS
    if name_key and not secret:
        raise UsageError("name-key needs --anonymous: names are not hashed without it")
    listed = _split_by_folders(_burnt_in_left_out(found, config))
    told = tell_patients(listed, config, secret)
    hashes = Hashes(found.tree, found.listing) if secret else None
    clips = told
    if hashes:
        clips = [hashes.hide(clip, keep_folder=found.kind == "images") for clip in told]
    clips = own_splits(clips, config)  # after hiding: its errors name clips
    if name_key:
        write_key(name_key, told, clips)
    notes = [*found.notes, *found.listing.notes, *_patient_notes(told, config, secret)]
    name = found.tree.root.resolve().name
    return PreparePlan(
        config,
        found,
        hashes.of(name) if hashes else name,
        [clip for clip in clips if not clip.left_out],
        {clip.name: clip.left_out for clip in clips if clip.left_out},
        [hashes.scrub(note) for note in notes] if hashes else notes,
        hashes,
    )


def _patient_notes(clips: Sequence[Clip], config: PrepareConfig, secret: bool) -> list[str]:
    notes = []
    patient = next((clip.patient for clip in clips if clip.patient), None)
    if config.patient_from == "folder" and patient and not secret:
        notes.append(f"a patient is the folder that holds the file, as {patient!r}")
    if secret and (left_out := sorted({x for clip in clips for x in clip.labels if identifies(x)})):
        notes.append(f"labels that may identify a patient are left out: {', '.join(left_out)}")
    return notes


def _burnt_in_left_out(found: kinds.Found, config: PrepareConfig) -> list[Clip]:
    clips = list(found.listing.clips)
    if not config.deidentify:
        return clips
    if found.kind not in _SECRET_KINDS:
        raise UsageError(
            f"deidentify: only DICOM says where its tissue is, and this is kind {found.kind}; "
            "look at --preview, crop the videos yourself, and leave --deidentify out"
        )
    return [
        replace(clip, left_out=clip.left_out or _BURNT_IN) if clip.uncropped else clip
        for clip in clips
    ]


def _split_by_folders(clips: Sequence[Clip]) -> list[Clip]:
    """Return `clips` with the split of the folder train, val or test, where the kind gave none."""
    folders = folder_splits(clip.name for clip in clips)
    return [
        replace(clip, split=folders[clip.name][0], split_by="the folders train, val, test")
        if clip.split is None and clip.name in folders
        else clip
        for clip in clips
    ]
