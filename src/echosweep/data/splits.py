"""Who goes to train, val and test: whole patients, by a hash of their name and a seed.

Frames of one patient on both sides flatter every number. Invariant: the split of a group depends on
the set of groups and the seed, never on their order; what a source decided stays as it is.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from echosweep import rng
from echosweep.data.source import Clip
from echosweep.data.store import SPLITS
from echosweep.errors import UsageError


def assign_splits(groups: Iterable[str], fractions: Sequence[float], seed: int) -> dict[str, str]:
    """Return the split of each group, by shares of train, val and test.

    With three groups or more no split with a share above 0 is empty; one or two groups go where
    the shares round to.
    """
    order = sorted(set(groups), key=lambda group: (rng.derive("split", seed, group), group))
    share = dict(zip(SPLITS, fractions, strict=True))
    sizes = {split: int(share[split] > 0 and len(order) >= len(SPLITS)) for split in SPLITS}
    while sum(sizes.values()) < len(order):
        sizes[max(SPLITS, key=lambda split: share[split] * len(order) - sizes[split])] += 1
    return dict(zip(order, Counter(sizes).elements(), strict=True))


def split_clips(clips: Sequence[Clip], fractions: Sequence[float], seed: int) -> list[Clip]:
    """Return `clips` with a split each: the source's own, else one drawn for its patient.

    A clip without a split follows its patient's other clips. Raises UsageError if the source puts
    one patient in two splits.
    """
    given = _given_splits(clips)
    drawn = assign_splits({_group(clip) for clip in clips} - set(given), fractions, seed)
    return [replace(clip, split={**drawn, **given}[_group(clip)]) for clip in clips]


def name_patients(clips: Sequence[Clip], pattern: str | None) -> list[Clip]:
    """Return `clips` with group 1 of `pattern`, searched in the name, where no patient is known.

    Raises UsageError for a pattern that is wrong or that fits no clip.
    """
    if pattern is None:
        return list(clips)
    try:
        regex = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"patient-regex {pattern!r} is not a pattern: {error}") from None
    if not regex.groups:
        raise UsageError(f"patient-regex {pattern!r} has no group; put the patient in brackets")
    if not any(regex.search(clip.name) for clip in clips):
        raise UsageError(f"patient-regex {pattern!r} fits no video, not even {clips[0].name!r}")
    return [_with_patient(clip, regex) for clip in clips]


def _with_patient(clip: Clip, regex: re.Pattern[str]) -> Clip:
    found = regex.search(clip.name) if clip.patient is None else None
    return replace(clip, patient=found[1]) if found and found[1] else clip


def _group(clip: Clip) -> str:
    """Return what must stay together: the patient, or the video where none is known."""
    return f"video {clip.name}" if clip.patient is None else f"patient {clip.patient}"


def _given_splits(clips: Sequence[Clip]) -> Mapping[str, str]:
    given: dict[str, str] = {}
    for clip in clips:
        if clip.split and given.setdefault(_group(clip), clip.split) != clip.split:
            raise UsageError(
                f"{clip.name!r} is in split {clip.split!r} but its patient's other videos are in "
                f"{given[_group(clip)]!r}; keep a patient in one split"
            )
    return given
