"""Who goes to train, val and test: whole patients, by a hash of their name and a seed.

Frames of one patient on both sides flatter every number. Invariant: the split of a group depends on
the set of groups and the seed, never on their order; what a source decided stays as it is.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from echosweep import rng
from echosweep.config import PrepareConfig
from echosweep.data.patients import patient_group
from echosweep.data.source import Clip
from echosweep.data.store import SPLITS
from echosweep.errors import UsageError

Links = Sequence[tuple[int, int]]
DRAWN = "drawn"


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


def own_splits(clips: Sequence[Clip], config: PrepareConfig) -> list[Clip]:
    """Return `clips` with the splits that the source gives, or with none where they are redrawn.

    Args:
        clips: With their patients.
        config: `redraw_splits` decides.

    Raises:
        UsageError: The source puts one patient in two splits.
    """
    if config.redraw_splits:
        return [replace(clip, split=None, split_by="") for clip in clips]
    given: dict[str, Clip] = {}
    for clip in clips:
        first = given.setdefault(patient_group(clip), clip) if clip.split else clip
        if first.split != clip.split:
            raise UsageError(
                f"{clip.name!r} is in split {clip.split!r} but {first.name!r} of the same patient "
                f"({clip.patient_by or 'by the source'}) is in {first.split!r}; keep a patient in "
                "one split, or give --redraw-splits"
            )
    return list(clips)


class Placed(NamedTuple):
    """The split of a clip, and what decided it, in words."""

    split: str
    by: str


def split_clips(clips: Sequence[Clip], config: PrepareConfig, links: Links = ()) -> list[Placed]:
    """Return the split of each clip: the source's own, else one drawn for its group.

    A group is a patient, with all patients that `links` join to it. A clip without a split follows
    its patient's other clips, else its group's. Where a source gives linked clips different splits
    they stay there.

    Args:
        clips: After `own_splits`.
        config: `splits` gives the shares, `seed` draws.
        links: Pairs of clips that show the same.
    """
    patients = [patient_group(clip) for clip in clips]
    groups = _joined(patients, links)
    own: dict[str, str] = {}
    given: defaultdict[str, set[str]] = defaultdict(set)
    for clip, patient, group in zip(clips, patients, groups, strict=True):
        if clip.split:
            own[patient] = clip.split
            given[group].add(clip.split)
    drawn = assign_splits(set(groups) - set(given), config.splits, config.seed)

    def place(clip: Clip, patient: str, group: str) -> Placed:
        if clip.split:
            return Placed(clip.split, clip.split_by or "the source")
        if patient in own:
            return Placed(own[patient], "the split of the patient's other videos")
        if group in given:
            return Placed(min(given[group], key=SPLITS.index), "the split of an equal video")
        return Placed(drawn[group], f"{DRAWN} with seed {config.seed}")

    return [place(*each) for each in zip(clips, patients, groups, strict=True)]


def _joined(groups: Sequence[str], links: Links) -> list[str]:
    """Return the name of each clip's group after joining linked ones: the first by name."""
    if not links:
        return list(groups)
    parent = {name: name for name in groups}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = name = parent[parent[name]]
        return name

    for one, other in links:
        first, last = sorted((root(groups[one]), root(groups[other])))
        parent[last] = first
    return [root(name) for name in groups]


def joined_groups(clips: Sequence[Clip], links: Links) -> Mapping[str, int]:
    """Return how many patients each group holds after joining linked ones."""
    names = [patient_group(clip) for clip in clips]
    return Counter(dict(zip(names, _joined(names, links), strict=True)).values())
