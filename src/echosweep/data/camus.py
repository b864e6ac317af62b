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
from echosweep.data.source import Clip, Frame, Listing
from echosweep.data.split_words import folder_splits, split_of
from echosweep.data.store import SPLITS
from echosweep.data.tree import FileTree
from echosweep.errors import UsageError

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
_SQUARE = 0.02  # pixels whose sides differ by less count as square
_MOST_OBLONG = 8.0
Labels = dict[str, float | str]


def count(tree: FileTree) -> int:
    """Return how many NIfTI and MetaImage files `tree` holds."""
    return len(_volumes(tree))


def clips(tree: FileTree, config: PrepareConfig) -> Listing:
    """Return a clip for each sequence of CAMUS and each other volume, sorted by name.

    Args:
        tree: A folder of CAMUS or of other volumes, or one such file.
        config: Nothing of it is needed.

    Raises:
        UsageError: The lists of splits name a patient twice.
    """
    files = _volumes(tree)
    chosen, unread = _choose(files)
    splits = _Splits.of(tree, [tree.name(file) for file in chosen])
    infos = {str(file).lower(): file for file in tree.ending((".cfg",)) if _INFO.search(file.name)}
    unread |= dict.fromkeys(infos.values(), "labels of a sequence")
    data = {file: file for file in tree.ending((".raw", ".zraw"))}
    listed = [_clip(file, tree, splits, infos, data) for file in chosen]
    known = {clip.patient for clip in listed if clip.patient}
    unlisted = [clip.name for clip in listed if splits.lists and not splits.has_listed(clip.path)]
    patients = f", CAMUS of {len(known)} patient{'s' * (len(known) > 1)}" if known else ""
    return Listing(
        listed,
        f"{len(listed)} NIfTI or MetaImage file{'s' * (len(listed) != 1)}{patients}",
        tables=splits.tables,
        unread=unread,
        unlisted=unlisted,
        notes=_notes(tree, splits),
    )


def decode(clip: Clip, every: int, channels: int) -> Iterator[Frame]:
    """Yield every `every`-th frame of the clip's file, with pixels made square.

    Raises Broken for a damaged file, and for values that are not integers from 0 to 255.
    """
    pixels, spacing = volume.read(clip.path)
    for number in range(0, len(pixels), every):
        yield Frame(number, _squared(Image.fromarray(pixels[number]), spacing))


def _squared(image: Image.Image, spacing: tuple[float, float]) -> Image.Image:
    """Return `image` with square pixels: the first CAMUS has columns twice as wide as rows high.

    The finer axis is made coarser, so that nothing is invented.
    """
    across, down = spacing
    ratio = across / down if across > 0 and down > 0 else 1.0
    if not (1 / _MOST_OBLONG <= ratio <= _MOST_OBLONG and abs(ratio - 1) > _SQUARE):
        return image
    width, height = image.size
    size = (width, round(height / ratio)) if ratio > 1 else (round(width * ratio), height)
    return image.resize((max(1, size[0]), max(1, size[1])), Image.Resampling.LANCZOS)


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
                unread[file] = f"copy of {same.name}"
            elif file == first or stills_only:
                chosen.append(file)
            else:
                unread[file] = f"frames of {first.name}"
    return sorted(chosen), unread


def _rank(file: Path) -> tuple[int, int]:
    """Return what is preferred among the files of one view: whole sequences, then NIfTI."""
    found = _NAME.fullmatch(_stem(file))
    assert found is not None
    what = ("sequence", "half_sequence", "ed", "es").index(found[3].lower())
    form = next(i for i, each in enumerate(volume.SUFFIXES) if file.name.lower().endswith(each))
    return what, form


# --- what a clip is -------------------------------------------------------------------------


def _clip(
    file: Path,
    tree: FileTree,
    splits: "_Splits",
    infos: Mapping[str, Path],
    data: Mapping[Path, Path],
) -> Clip:
    name = tree.name(file)
    split, split_by, rest = splits.find(file, name)
    raws = [data[raw] for end in (".raw", ".zraw") if (raw := file.with_suffix(end)) in data]
    parts = (file, *raws) if file.suffix.lower() == ".mhd" and raws else ()
    found = _NAME.fullmatch(_stem(file))
    if found is None:
        folder = rest.rpartition("/")[0]
        labels: Labels = {"folder": folder} if folder else {}
        return Clip(name, file, split, labels=labels, parts=parts, split_by=split_by)
    who, view, what = found[1], found[2].upper(), found[3]
    folder = name.rpartition("/")[0]
    own = folder.rpartition("/")[2].lower() == who.lower()
    labels, frames = _labels(_info(file, who, view, infos))
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
        patient_by="folder" if own else "file name",
    )


def _info(file: Path, who: str, view: str, infos: Mapping[str, Path]) -> str:
    """Return the text of the Info file beside `file`; "" if there is none."""
    for name in (f"Info_{view}.cfg", f"{who}_Info_{view}.cfg"):
        if info := infos.get(str(file.with_name(name)).lower()):
            return info.read_text(encoding="utf-8-sig", errors="replace")
    return ""


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
        if key in _WORDS and value:
            labels[_WORDS[key]] = value
        elif key in _NUMBERS and (number := _number(value)) is not None:
            labels[_NUMBERS[key]] = number
    frames = _counted(fields.get("nbframe", "")) or 0
    for phase in ("ED", "ES"):
        if (at := _counted(fields.get(phase.lower(), ""))) and at <= (frames or _MOST_FRAMES):
            labels[f"{phase}_frame"] = at - 1
    return labels, frames


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _counted(text: str) -> int | None:
    """Return a number of 1 or more that a video can have frames; None for another text."""
    number = _number(text)
    whole = number is not None and number.is_integer() and 1 <= number <= _MOST_FRAMES
    return int(number) if whole and number is not None else None


# --- splits ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Splits:
    """The splits of patients by `database_split/subgroup_*.txt`, and of files by their folders."""

    lists: Mapping[str, str] = field(default_factory=dict)
    folders: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    tables: tuple[Path, ...] = ()

    @classmethod
    def of(cls, tree: FileTree, names: list[str]) -> "_Splits":
        lists: dict[str, str] = {}
        tables = []
        for file in tree.ending((".txt",)):
            found = _SUBGROUP.fullmatch(file.name)
            if not (found and (split := split_of(found[1]))):
                continue
            tables.append(file)
            for word in file.read_text(encoding="utf-8-sig", errors="replace").split():
                if lists.setdefault(word.lower(), split) != split:
                    raise UsageError(
                        f"{file} lists {word}, which is in {lists[word.lower()]} by another list; "
                        "keep one of the two lines"
                    )
        return cls(lists, folder_splits(names), tuple(tables))

    def find(self, file: Path, name: str) -> tuple[str | None, str, str]:
        """Return the split, what gave it, and the name without the folder of a split."""
        by_folder, rest = self.folders.get(name, (None, name))
        if self.has_listed(file):
            return self.lists[self._who(file)], "subgroup_*.txt", rest
        return by_folder, self._by_folders if by_folder else "", rest

    @property
    def _by_folders(self) -> str:
        used = {split for split, _ in self.folders.values()}
        return f"the folders {', '.join(split for split in SPLITS if split in used)}"

    def has_listed(self, file: Path) -> bool:
        return self._who(file) in self.lists

    def _who(self, file: Path) -> str:
        found = _NAME.fullmatch(_stem(file))
        return found[1].lower() if found else ""


def _notes(tree: FileTree, splits: _Splits) -> list[str]:
    beside = tree.root.resolve().parent / "database_split"
    if splits.lists or splits.folders or not beside.is_dir():
        return []
    return [
        f"the splits in {beside.name} beside {tree.root.name} are not read; give the folder that "
        "holds both to keep them"
    ]
