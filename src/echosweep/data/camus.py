"""CAMUS (Leclerc et al. 2019): apical two- and four-chamber sequences as NIfTI or MetaImage.

`patientNNNN/patientNNNN_{2CH,4CH}_half_sequence.nii.gz` (or `_sequence.mhd`), with `Info_2CH.cfg`.
The stills at the end of diastole and of systole are frames of the sequence, so they are read only
where it is missing; masks are not read. Other NIfTI and MetaImage files are each a video. CAMUS
counts frames from 1; the labels ED_frame and ES_frame count from 0, as all frames here do.
Invariant: people of the folders training and testing who have the same number are two people.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from echosweep.config import PrepareConfig
from echosweep.data import volume
from echosweep.data.limits import LIMITS, Limits
from echosweep.data.source import Clip, Frame, Guard, Listing
from echosweep.data.split_words import folder_splits, split_of
from echosweep.data.store import SPLITS
from echosweep.data.table_rows import parse_number
from echosweep.data.tree import FileTree

LOOKS_FOR = "CAMUS or other NIfTI and MetaImage files (nii nii.gz mhd mha)"
_NAME = re.compile(r"(.+)_(2CH|4CH)_(sequence|half_sequence|ED|ES)", re.IGNORECASE)
_INFO = re.compile(r"Info_(2CH|4CH)\.cfg$", re.IGNORECASE)
_SUBGROUP = re.compile(r"subgroup_(\w+)\.txt", re.IGNORECASE)
_WORDS = {"sex": "sex", "imagequality": "image_quality"}
_NUMBERS = {
    **{"ef": "EF", "lvef": "EF", "lvedv": "EDV", "lvesv": "ESV"},
    **{"age": "age", "framerate": "fps"},
}
_MOST_FRAMES = 10_000
_MOST_TEXT = 1 << 20  # bytes of a list or of an Info file
_LONGEST = 100  # characters of a label
Labels = dict[str, float | str]


def count(tree: FileTree) -> int:
    """Return how many NIfTI and MetaImage files `tree` holds."""
    return len(_volumes(tree))


def clips(tree: FileTree, config: PrepareConfig) -> Listing:
    """Return a clip for each sequence of CAMUS and each other volume, sorted by name.

    Args:
        tree: A folder of CAMUS or of other volumes, or one such file.
        config: With `anonymous` no note names a patient.
    """
    files = _volumes(tree)
    chosen, unread = _choose(files)
    splits = _Splits.of(tree, [tree.name(file) for file in chosen])
    infos = _Infos.of(tree)
    unread |= dict.fromkeys(infos.files.values(), "labels of a sequence")
    listed = [_clip(file, tree, splits, infos) for file in chosen]
    known = {clip.patient for clip in listed if clip.patient}
    unlisted = [c.name for c in listed if splits.lists and _who(c.path) not in splits.lists]
    patients = f", CAMUS of {len(known)} patient{'s' * (len(known) > 1)}" if known else ""
    return Listing(
        listed,
        f"{len(listed)} NIfTI or MetaImage file{'s' * (len(listed) != 1)}{patients}",
        tables=list(splits.patients),
        unread=unread,
        unlisted=unlisted,
        notes=splits.notes(tree, chosen, config.anonymous) + infos.notes(tree, config.anonymous),
    )


def decode(clip: Clip, every: int, channels: int, limits: Limits = LIMITS) -> Iterator[Frame]:
    """Yield every `every`-th frame of the clip's file, with pixels made square.

    Raises Broken for a damaged file, and for values that are not integers from 0 to 255.
    """
    pixels, spacing = volume.read(clip.path, limits)
    for number in range(0, len(pixels), every):
        yield Frame(number, volume.squared(Image.fromarray(pixels[number]), spacing))


# --- which files ----------------------------------------------------------------------------


def _volumes(tree: FileTree) -> list[Path]:
    return [file for file in tree.files if file.name.lower().endswith(volume.SUFFIXES)]


def _stem(file: Path) -> str:
    suffix = next(each for each in volume.SUFFIXES if file.name.lower().endswith(each))
    return file.name[: -len(suffix)]


def _choose(files: list[Path]) -> tuple[list[Path], dict[Path, str]]:
    """Return the files that are clips, and why the others are none."""
    chosen, unread = [], {}
    views: defaultdict[tuple[Path, str], list[Path]] = defaultdict(list)
    for file in files:
        stem = _stem(file)
        if stem.lower().endswith("_gt"):
            unread[file] = "mask: masks are not read"
        elif found := _NAME.fullmatch(stem):
            views[file.parent, f"{found[1]}_{found[2]}".lower()].append(file)
        else:
            chosen.append(file)
    for several in views.values():
        several.sort(key=_rank)
        first, stills_only = several[0], _rank(several[0])[0] > 1
        best: dict[int, Path] = {}
        for file in several:
            same = best.setdefault(_rank(file)[0], file)
            if file != same:
                unread[file] = "copy in another format"
            elif file == first or stills_only:
                chosen.append(file)
            else:
                unread[file] = "frames of a sequence that is read"
    return sorted(chosen), unread


def _rank(file: Path) -> tuple[int, int]:
    """Return what is preferred among the files of one view: whole sequences, then NIfTI."""
    found = _NAME.fullmatch(_stem(file))
    assert found is not None
    what = ("sequence", "half_sequence", "ed", "es").index(found[3].lower())
    form = next(i for i, each in enumerate(volume.SUFFIXES) if file.name.lower().endswith(each))
    return what, form


# --- what a clip is -------------------------------------------------------------------------


def _clip(file: Path, tree: FileTree, splits: "_Splits", infos: "_Infos") -> Clip:
    name = tree.name(file)
    split, split_by, rest = splits.find(file, name)
    data = volume.data_file(file)
    parts = (file, data) if data else ()
    found = _NAME.fullmatch(_stem(file))
    if found is None:
        folder = rest.rpartition("/")[0]
        labels: Labels = {"folder": folder} if folder else {}
        return Clip(name, file, split, labels=labels, parts=parts, split_by=split_by)
    who, view, what = found[1], found[2].upper(), found[3]
    folder = name.rpartition("/")[0]
    own = folder.rpartition("/")[2].lower() == who.lower()
    labels, frames = infos.labels(file, who, view)
    if what.upper() in ("ED", "ES"):
        frames = 1
        labels = {key: v for key, v in labels.items() if key not in ("ED_frame", "ES_frame")}
        labels["phase"] = what.upper()
    return Clip(
        name=name,
        path=file,
        split=split,
        patient=folder if own else f"{folder}/{who}".lstrip("/"),
        labels={"view": view, **labels},
        frames=frames,
        parts=parts,
        split_by=split_by,
        patient_by="its folder" if own else "its file name",
        fault=splits.fault(file),
    )


@dataclass(frozen=True)
class _Infos:
    """The Info files by their paths in lower case; `odd`: those that told nothing."""

    files: Mapping[str, Path]
    odd: dict[Path, None] = field(default_factory=dict)

    @classmethod
    def of(cls, tree: FileTree) -> "_Infos":
        found = (file for file in tree.ending((".cfg",)) if _INFO.search(file.name))
        return cls({str(file).lower(): file for file in found})

    def labels(self, file: Path, who: str, view: str) -> tuple[Labels, int]:
        """Return what the Info file beside `file` says; nothing if there is none."""
        for name in (f"Info_{view}.cfg", f"{who}_Info_{view}.cfg"):
            if info := self.files.get(str(file.with_name(name)).lower()):
                with Guard():
                    if any(told := _labels(_text(info))):
                        return told
                self.odd[info] = None
                break
        return {}, 0

    def notes(self, tree: FileTree, secret: bool) -> list[str]:
        such = "" if secret or not self.odd else f", as {tree.name(next(iter(self.odd)))!r}"
        note = f"{len(self.odd)} Info files cannot be read or say nothing{such}: so there are no "
        return [f"{note}labels of their sequences"] if self.odd else []


def _text(file: Path) -> str:
    with file.open("rb") as opened:
        data = opened.read(_MOST_TEXT)
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return data.decode(encoding, errors="replace")


def _labels(info: str) -> tuple[Labels, int]:
    """Return the labels in an Info file, and how many frames it promises (0: unknown).

    A line that is not `Name: value`, or has a word where a number should be, says nothing.
    """
    fields = {}
    for line in info.splitlines():
        key, _, value = line.partition(":")
        fields[key.strip().lower()] = value.strip()
    labels: Labels = {}
    for key, value in fields.items():
        if key in _WORDS and 0 < len(value) <= _LONGEST:
            labels[_WORDS[key]] = value
        elif key in _NUMBERS and math.isfinite(number := _number(value)):
            labels[_NUMBERS[key]] = number
    frames = _counted(fields.get("nbframe", "")) or 0
    for phase in ("ED", "ES"):
        if (at := _counted(fields.get(phase.lower(), ""))) and at <= (frames or _MOST_FRAMES):
            labels[f"{phase}_frame"] = at - 1
    return labels, frames


def _number(text: str) -> float:
    return math.nan if (number := parse_number(text)) is None else number


def _counted(text: str) -> int | None:
    """Return a number of 1 or more that a video can have frames; None for another text."""
    whole = 1 <= (number := _number(text)) <= _MOST_FRAMES and number.is_integer()
    return int(number) if whole else None


# --- splits ---------------------------------------------------------------------------------


def _who(file: Path) -> str:
    found = _NAME.fullmatch(_stem(file))
    return found[1].lower() if found else ""


@dataclass(frozen=True)
class _Splits:
    """The splits of patients by `database_split/subgroup_*.txt`, and of files by their folders.

    patients: those that each list names. lists: the lists that name a patient, with their splits.
    """

    patients: dict[Path, list[str]] = field(default_factory=dict)
    lists: dict[str, dict[str, str]] = field(default_factory=dict)
    folders: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, tree: FileTree, names: list[str]) -> "_Splits":
        splits = cls(folders=folder_splits(names))
        for file in tree.ending((".txt",)):
            found = _SUBGROUP.fullmatch(file.name)
            if not (found and (split := split_of(found[1]))):
                continue
            try:
                patients = splits.patients[file] = _text(file).split()
            except OSError as error:
                why = f"cannot be read ({error.strerror}): it gives no patient a split"
                splits.unreadable.append(f"{file.name} {why}")
                patients = []
            for patient in patients:
                splits.lists.setdefault(patient.lower(), {})[file.name] = split
        return splits

    def find(self, file: Path, name: str) -> tuple[str | None, str, str]:
        """Return the split, what gave it, and the name without the folder of a split."""
        by_folder, rest = self.folders.get(name, (None, name))
        if by := self.lists.get(_who(file)):
            return next(iter(by.values())), "subgroup_*.txt", rest
        used = {split for split, _ in self.folders.values()} if by_folder else ()
        folders = f"the folders {', '.join(split for split in SPLITS if split in used)}"
        return by_folder, folders if by_folder else "", rest

    def fault(self, file: Path) -> str:
        """Return why the lists give a file no split: several name its patient."""
        by = self.lists.get(_who(file), {})
        several = len(set(by.values())) > 1
        return f"its patient is in {' and in '.join(sorted(by))}; keep one" if several else ""

    def notes(self, tree: FileTree, chosen: list[Path], secret: bool) -> list[str]:
        """Return what is odd about the lists: who has no file, lists that are not read."""
        notes, there = list(self.unreadable), set(map(_who, chosen))
        for file, patients in self.patients.items():
            if gone := [patient for patient in patients if patient.lower() not in there]:
                such = "" if secret else f", as {gone[0]!r}"
                notes.append(f"{file.name} lists {len(gone)} patients that are not there{such}")
        beside = tree.root.resolve().parent / "database_split"
        if not self.lists and not self.folders and beside.is_dir():
            notes.append(
                f"the splits in {beside.name} beside {tree.root.name} are not read; give the "
                "folder that holds both to keep them"
            )
        return notes
