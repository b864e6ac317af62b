"""What would let a study report by images that trained or chose, refused before any work.

Real images: those that train, those that choose and those that are reported by are of different
splits. Generated ones: seeds `seed` to `seed + num` of the choice, of the report and of what a
discriminator learns from do not overlap. Invariant: each message names a value that would do.
"""

from collections.abc import Sequence
from typing import NamedTuple

from echosweep.config import Config, ShiftOptions
from echosweep.errors import UsageError
from echosweep.study.candidate import Candidate
from echosweep.study.recipe import DISCRIMINATOR_SEED, SEEDS, Recipe, Reporting


class Seeds(NamedTuple):
    """The seeds that one purpose draws images from: `num` from `first` on. field: sets `first`."""

    field: str
    first: int
    num: int

    @property
    def end(self) -> int:
        """Return the first seed behind them."""
        return self.first + self.num

    def overlaps(self, other: "Seeds") -> bool:
        """Say whether any seed belongs to both."""
        return self.first < other.end and other.first < self.end


def check_training_split(recipe: Recipe, candidate: Candidate) -> None:
    """Raise UsageError for a candidate that is trained on images that choose or are reported by."""
    split = candidate.train.split
    purposes = {"all": "every image", recipe.report.split: "images that are reported by"}
    if recipe.select.split != "train":
        purposes[recipe.select.split] = "images that choose (select.split)"
    if split in purposes:
        raise UsageError(
            f"train.split: {split} would train on {purposes[split]}, so memorised images would "
            "look good; write train.split: train"
        )


def check_reporting_split(recipe: Recipe, options: Config) -> None:
    """Raise UsageError for a stage that reports by the split that chooses."""
    if isinstance(options, ShiftOptions) and options.split == recipe.select.split:
        raise UsageError(
            f"split: {options.split} chooses the candidates (select.split), so it cannot report "
            f"what was chosen; write split: {recipe.report.split}"
        )


def check_seeds(recipe: Recipe, stages: Sequence[Config], learnt: int) -> None:
    """Raise UsageError for seeds of two purposes that overlap, or that no store can hold.

    Args:
        recipe: the study.
        stages: the options of its stages.
        learnt: the most images that a discriminator of any candidate learns from; 0 for none.
    """
    shown = [stage.num or 0 for stage in stages if isinstance(stage, ShiftOptions)]
    report = Seeds("report.seed", recipe.report.seed, max(recipe.report.num, *shown, 0))
    select = Seeds("select.seed", recipe.select.seed, recipe.select.num)
    discriminator = Seeds("discriminator_images", DISCRIMINATOR_SEED, learnt)
    for seeds, others in ((select, (discriminator,)), (report, (select, discriminator))):
        if seeds.end > SEEDS:
            raise UsageError(
                f"{seeds.field}: {seeds.first} and num {seeds.num} go beyond the largest seed, "
                f"{SEEDS - 1}{_fix(seeds, others)}"
            )
        for other in filter(seeds.overlaps, others):
            raise UsageError(
                f"{seeds.field}: seeds {seeds.first} to {seeds.end - 1} overlap seeds "
                f"{other.first} to {other.end - 1} of {other.field}, so the same images would "
                f"serve both{_fix(seeds, others)}"
            )


def _fix(seeds: Seeds, others: Sequence[Seeds]) -> str:
    """Return what to write instead: the usual seed of a report, or the lowest that is free."""
    for first in (Reporting().seed, 0, *sorted(other.end for other in others)):
        moved = seeds._replace(first=first)
        if moved.end <= SEEDS and not any(map(moved.overlaps, others)):
            return f"; write {seeds.field}: {first}"
    return "; ask for fewer images"
