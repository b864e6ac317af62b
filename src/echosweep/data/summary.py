"""What `prepare` decided, as plain data: who is a patient, what went in, what stayed out and why.

Kept in a store's manifest under "summary", printed by `reporting.preparation`. Invariant: every
file that was seen is counted once: as part of a video, as a table, or among those not read.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from echosweep.data import SOURCES
from echosweep.data.duplicates import Twins
from echosweep.data.patients import ASSUMED, patient_group
from echosweep.data.plan import PreparePlan
from echosweep.data.pseudonyms import identifies
from echosweep.data.source import MISSING, Clip
from echosweep.data.splits import DRAWN, Placed, joined_groups
from echosweep.data.store import SPLITS
from echosweep.data.tree import FileTree

_TABLES = (".csv", ".tsv", ".xlsx", ".xls", ".json", ".jsonl", ".ods", ".parquet")
_EXAMPLES = 5
_LONGEST_ENDING = 6
_NOBODY = re.compile(r"anon\w*|unknown|none|null|test|patient|de-?id\w*|0+|x+", re.IGNORECASE)


class Result(NamedTuple):
    """What came of a plan: for each kept clip its split and number of images.

    Attributes:
        clips: Those that are in the store.
        placed: The split of each, and what decided it.
        images: The number of images of each; None before anything is decoded.
        excluded: The reason why a clip could not be used, by its name.
        twins: Pairs of rows of `clips` that show the same.
    """

    clips: Sequence[Clip]
    placed: Sequence[Placed]
    images: Sequence[int] | None = None
    excluded: Mapping[str, str] = {}
    twins: Twins = Twins([], [])


def summarise(plan: PreparePlan, result: Result) -> dict[str, Any]:
    """Return every decision about a source as JSON: counts, reasons and warnings.

    Args:
        plan: What was to be done.
        result: What came of it.
    """
    found, clips = plan.found, result.clips
    show = plan.hashes is None
    counts = _count_splits(result)
    return {
        "source": plan.name,
        "kind": found.kind,
        "why": found.why,
        "layout": found.listing.layout,
        "splits": counts,
        "patients_from": dict(Counter(clip.patient_by or ASSUMED for clip in clips)),
        "splits_from": dict(Counter(placed.by for placed in result.placed)),
        "cropping": dict(Counter(clip.note for clip in clips if clip.note)),
        "labels": dict(Counter(label for clip in clips for label in clip.labels)),
        "excluded": _by_reason(result.excluded),
        "left_out": _by_reason(plan.left_out),
        "not_read": _not_read(plan, show),
        "tables": [file.name for file in found.listing.tables],
        "rows_without_file": sum(clip.fault == MISSING for clip in plan.clips),
        "files_without_row": _examples(found.listing.unlisted, show),
        "links": {"followed": found.tree.linked, "already_read": found.tree.repeated},
        "hidden": found.tree.hidden,
        "own_folders": found.tree.own,
        "equal_videos": _pairs(clips, result.twins.equal),
        "near_equal_videos": _pairs(clips, result.twins.near),
        "groups": len(joined_groups(clips, [*result.twins.equal, *result.twins.near])),
        "notes": list(plan.notes),
        "warnings": _warnings(plan, result, counts),
    }


def _count_splits(result: Result) -> dict[str, dict[str, int | None]]:
    images: Counter[str] = Counter()
    groups: defaultdict[str, set[str]] = defaultdict(set)
    for row, (clip, (split, _)) in enumerate(zip(result.clips, result.placed, strict=True)):
        groups[split].add(patient_group(clip))
        images[split] += result.images[row] if result.images else 0
    videos = Counter(placed.split for placed in result.placed)
    return {
        split: {
            "images": images[split] if result.images else None,
            "videos": videos[split],
            "patients": len(groups[split]),
        }
        for split in SPLITS
    }


def _by_reason(reasons: Mapping[str, str]) -> dict[str, Any]:
    """Return how many were left out, and how many for each reason, the most common first."""
    return {"videos": len(reasons), "reasons": dict(Counter(reasons.values()).most_common())}


def _examples(names: Sequence[str], show: bool) -> dict[str, Any]:
    return {"files": len(names), "examples": list(names[:_EXAMPLES]) if show else []}


def _pairs(clips: Sequence[Clip], pairs: Sequence[tuple[int, int]]) -> list[list[str]]:
    return [[clips[one].name, clips[other].name] for one, other in pairs]


def _not_read(plan: PreparePlan, show: bool) -> list[dict[str, Any]]:
    """Return the files that are in no video: by ending and reason, with an example."""
    tree, listing = plan.found.tree, plan.found.listing
    used = set(listing.tables)
    for clip in listing.clips:
        used.update(clip.parts or (clip.path,))
    reasons = {file: why for file, why in listing.unread.items() if file not in used}
    rest = [file for file in tree.files if file not in used and file not in reasons]
    reasons |= _other_reasons(plan, rest)
    grouped: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for file, why in reasons.items():
        grouped[_ending(file, show), why].append(tree.name(file))
    for name, why in tree.odd.items():
        grouped[_ending(Path(name), show), why].append(Path(name).name)
    return [
        {"ending": ending, "reason": why, "files": len(names), "example": names[0] if show else ""}
        for (ending, why), names in sorted(grouped.items(), key=lambda item: -len(item[1]))
    ]


def _ending(file: Path, show: bool) -> str:
    """Return the ending of a file; "other" for one that may be a name and may not be shown."""
    ending = file.suffix.lower()
    return ending if show or (len(ending) <= _LONGEST_ENDING and ending[1:].isalnum()) else "other"


def _other_reasons(plan: PreparePlan, files: Sequence[Path]) -> dict[Path, str]:
    """Return the reason why each of `files`, which the kind did not speak of, is not read."""
    by_ending: defaultdict[str, list[Path]] = defaultdict(list)
    for file in files:
        by_ending[file.suffix.lower()].append(file)
    reasons: dict[Path, str] = {}
    for ending, alike in by_ending.items():
        reasons |= dict.fromkeys(alike, _reason(plan, ending, alike))
    return reasons


def _reason(plan: PreparePlan, ending: str, files: Sequence[Path]) -> str:
    if ending in _TABLES:
        return "table that this kind does not read"
    tree = FileTree(plan.found.tree.root, tuple(files))
    others = [name for name, source in SOURCES.items() if source.count(tree)]
    if plan.found.kind in others:
        return "not named by the source's table"
    if others:
        return f"another kind: --kind {others[0]}"
    return "not a format that can be read"


def _warnings(
    plan: PreparePlan, result: Result, counts: Mapping[str, Mapping[str, int | None]]
) -> list[str]:
    """Return what a user has to look at, each with what to do about it."""
    return [
        *_warn_of_patients(plan, result),
        *_warn_of_empty_splits(plan, result, counts),
        *_warn_of_twins(result),
        *_warn_of_text(result),
        *_warn_of_labels(plan, result),
    ]


def _warn_of_patients(plan: PreparePlan, result: Result) -> list[str]:
    clips = result.clips
    groups = {patient_group(clip) for clip in clips}
    assumed = sum(not clip.patient_by for clip in clips)
    if len(groups) == 1 and len(clips) > 1:
        studies = len({clip.study for clip in plan.found.listing.clips if clip.study})
        ways = f"--patient-from study ({studies} studies), " if studies > 1 else ""
        return [
            f"one patient ({clips[0].patient_by}) has all {len(clips)} videos, so they are in one "
            f"split; if these are several patients, give {ways}--patient-from folder, or "
            "--patient-regex PATTERN"
        ]
    if placeholder := _placeholder(plan):
        return [
            f"{placeholder} videos have a PatientID that is no patient's, as ANONYMOUS; if they "
            "are of several patients, give --patient-from study, or --patient-regex PATTERN"
        ]
    if not assumed or len(clips) < 2 or _splits_by_tables(clips):
        return []
    if assumed == len(clips):
        return [
            "each video is assumed to be a patient of its own; if patients have several videos, "
            "say how to tell: --patient-regex PATTERN, --patient-from folder, or a table"
        ]
    return [f"the patient of {assumed} videos is not known: each counts as one of its own"]


def _splits_by_tables(clips: Sequence[Clip]) -> bool:
    """Say whether a published table tells every split: who made it knows the patients."""
    return all(clip.split and not clip.split_by.startswith("the folders") for clip in clips)


def _placeholder(plan: PreparePlan) -> int:
    """Return how many videos have a word for no patient as their DICOM identifier."""
    clips = plan.found.listing.clips if plan.config.patient_from == "auto" else ()
    named = [clip.patient for clip in clips if clip.patient_by == "PatientID" and clip.patient]
    return sum(bool(_NOBODY.fullmatch(name.strip())) for name in named)


def _warn_of_empty_splits(
    plan: PreparePlan, result: Result, counts: Mapping[str, Mapping[str, int | None]]
) -> list[str]:
    names = [patient_group(clip) for clip in result.clips]
    drawn = {
        name
        for name, placed in zip(names, result.placed, strict=True)
        if placed.by.startswith(DRAWN)
    }
    shares = dict(zip(SPLITS, plan.config.splits, strict=True))
    empty = [
        split for split in SPLITS if not counts[split]["videos"] and (shares[split] or not drawn)
    ]
    if not empty:
        return []
    if drawn:
        joined = ", or fewer where equal videos join them" if result.twins.equal else ""
        why = (
            f"splits were drawn for {len(drawn)} patient{'s' * (len(drawn) > 1)}{joined}; three or "
            "more fill all three"
        )
    else:
        why = "the source's own splits do not fill it; --redraw-splits draws new ones"
    return [f"no video is in {' or '.join(empty)}: {why}"]


def _warn_of_twins(result: Result) -> list[str]:
    clips, splits = result.clips, [placed.split for placed in result.placed]
    warnings = []
    links = [*result.twins.equal, *result.twins.near]
    apart = [(a, b) for a, b in links if splits[a] != splits[b]]
    if apart:
        a, b = apart[0]
        warnings.append(
            f"{len(apart)} pairs of equal or nearly equal videos are in two splits, as the source "
            f"says (as {clips[a].name} in {splits[a]} and {clips[b].name} in {splits[b]}): "
            "remove one of each, or give --redraw-splits"
        )
    joined = joined_groups(clips, links)
    if links and (most := max(joined.values())) > max(2, len(clips) // 2):
        warnings.append(
            f"equal or nearly equal videos join {most} patients, who are in one split; if such a "
            "video is of no patient (a logo, a test picture), remove it"
        )
    return warnings


def _warn_of_labels(plan: PreparePlan, result: Result) -> list[str]:
    labels = sorted({label for clip in result.clips for label in clip.labels if identifies(label)})
    if not labels or plan.hashes:
        return []
    return [
        f"labels that may tell whose a video is are in the store: {', '.join(labels)}; "
        "--anonymous leaves them out, and hashes names"
    ]


def _warn_of_text(result: Result) -> list[str]:
    uncropped = sum(clip.uncropped for clip in result.clips)
    if not uncropped:
        return []
    return [
        f"{uncropped} videos are not cropped to their tissue, so a name may be burnt in: look at "
        "the sheets of --preview FOLDER; --deidentify leaves them out"
    ]
