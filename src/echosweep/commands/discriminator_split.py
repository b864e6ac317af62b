"""Which images a discriminator learns from, and which it is measured on.

Real images are held out by patient (the val split, or a tenth of the patients), generated ones by
seed. Invariant: what does not fit together is refused before any image is read.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from echosweep import rng, runs
from echosweep.config import DiscriminatorConfig
from echosweep.data.store import FrameStore, check_comparable
from echosweep.errors import UsageError
from echosweep.evaluation.sets import Side
from echosweep.training import OBJECTIVES
from echosweep.training.batches import class_names

_GENERATED_SHARE = 8  # one generated image in so many is held out
_PATIENT_SHARE = 10  # one patient in so many, where the data have no val split


class Split(NamedTuple):
    """Images to train on, and equally many held-out ones of both sides."""

    real: Side
    generated: Side
    held_out_real: Side
    held_out_generated: Side


def split_images(real: FrameStore, generated: FrameStore, config: DiscriminatorConfig) -> Split:
    """Return which images are trained on and which are held out.

    Raises UsageError where nothing can be held out.
    """
    train, rest = _split_patients(real, config.seed)
    last = max(2, min(config.held_out, len(generated) // _GENERATED_SHARE))
    rows = generated.rows()
    count = min(last, len(rest))
    return Split(
        Side(real, train),
        Side(generated, rows[:-last]),
        spread(Side(real, rest), count),
        spread(Side(generated, rows[-last:]), count),
    )


def spread(side: Side, count: int) -> Side:
    """Return `count` images of a side at even distances; all where there are no more."""
    count = min(count, len(side))
    return Side(side.store, side.rows[np.arange(count) * len(side) // count])


def _split_patients(real: FrameStore, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    train = real.rows("train")
    if "val" in real.splits:
        return train, real.rows("val")
    groups = Side(real, train).groups
    patients = int(groups.max()) + 1
    if patients < 2:
        raise UsageError(
            f"{real.path} has no val split and only one patient to train on, so none can be held "
            "out; prepare more videos, with a share for val: --splits 0.75,0.125,0.125"
        )
    draw = np.random.default_rng(rng.derive("discriminator", "held-out", seed))
    held_out = np.isin(groups, draw.permutation(patients)[: -(-patients // _PATIENT_SHARE)])
    return train[~held_out], train[held_out]


def check_images(
    real: FrameStore,
    generated: FrameStore,
    facts: Mapping[str, Any],
    model: str | Path,
    config: DiscriminatorConfig,
) -> None:
    """Raise UsageError unless these are real images, and enough that the model alone made.

    facts: what the model's JSON says.
    """
    _check_drawn(generated, facts, model)
    check_comparable(generated, real)
    _check_classes(real, facts)
    if len(generated) < config.batch:
        raise UsageError(
            f"{generated.path} has {len(generated)} images, fewer than --batch {config.batch}; "
            "draw more with `echosweep sample`, or choose a smaller --batch"
        )
    if config.augment and OBJECTIVES[config.objective].gradient_only:
        raise UsageError(
            f"--augment {config.augment:g} with --objective {config.objective} would teach the "
            "model flipped and shifted images; leave --augment out"
        )


def _check_classes(real: FrameStore, facts: Mapping[str, Any]) -> None:
    label, known = facts["config"].get("label"), facts["classes"]
    if unknown := sorted(set(class_names(real, label)) - set(known)):
        raise UsageError(
            f"{real.path} has {label} {unknown[0]!r}, which the model does not know "
            f"({', '.join(known)}); give the images that it was trained on"
        )


def _check_drawn(generated: FrameStore, facts: Mapping[str, Any], model: str | Path) -> None:
    source = generated.manifest.get("source", {})
    drawn, again = source.get("sample", {}), runs.command_line("sample", model, "--out", "STORE")
    if source.get("model") != facts["sha256"]:
        raise UsageError(
            f"{generated.path} was not drawn from {model}; give the model (or snapshot) that it "
            f"was drawn from, or draw anew: {again}"
        )
    if drawn.get("guidance"):
        raise UsageError(
            f"{generated.path} was drawn with guidance; a discriminator learns from what the model "
            f"makes without: {again}"
        )
    if drawn.get("label"):
        raise UsageError(
            f"{generated.path} was drawn of class {drawn['label']!r} alone, so a discriminator "
            f"would learn the class; draw every class alike: {again}"
        )
