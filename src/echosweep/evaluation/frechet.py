"""The Fréchet distance as a metric: with its interval, its floor and its value at infinite N.

A bare distance misleads, so it comes with what real images score against real ones of other
patients. Values are named fd here; `evaluate` puts the exact name (fid, fid768, rfd) in its place.
"""

from typing import Any

from echosweep.evaluation.fid import distance_of
from echosweep.evaluation.floor import above_floor
from echosweep.evaluation.influence import standard_error
from echosweep.evaluation.sets import FEW_GROUPS, Result, Side

SPLITS, POINTS = 4, 5
Z95 = 1.96
_FEW_PER_FEATURE = 10  # images: below it the bias by N is far larger than the interval


def measure_frechet(generated: Side, reference: Side, seed: int) -> Result:
    """Return the distance and how far it is above the floor.

    fd: of all images; its interval is of redrawing the patients (or videos) of both sides, at this
    number of images: details["interval"] names it. The value of infinitely many is not in it.
    fd_at_floor: generated images against one half of the reference, at the same N as
    fd_floor: the other half against it, both the mean over SPLITS seeded splits by video;
    fd_above_floor: their difference. fd_infinity: generated against a half, at infinite N.
    """
    value = distance_of(generated.features, reference.features)
    error = standard_error(generated, reference)
    intervals = {}
    values, curves = _above_floor(generated, reference, seed)
    details = dict(curves)
    if error is not None:
        intervals["fd"] = (max(value - Z95 * error, 0.0), value + Z95 * error)
        details["interval"] = {
            "of": "the distance at this number of images",
            "n_generated": len(generated),
            "n_reference": len(reference),
        }
    return Result(
        values={"fd": value, **values},
        intervals=intervals,
        details=details,
        notes=_notes(generated, reference, curves, error),
    )


def _above_floor(
    generated: Side, reference: Side, seed: int
) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the values that need halves of the reference, and their curves; empty for too few."""
    found = above_floor(generated, reference, SPLITS, seed, POINTS)
    if found is None:
        return {}, {}
    made, real, by = found
    of_made, of_real = made.record(), real.record()
    values = {
        "fd_at_floor": of_made["mean"],
        "fd_floor": of_real["mean"],
        "fd_above_floor": of_made["mean"] - of_real["mean"],
        "fd_infinity": of_made["infinity"],
    }
    curves = {"by": by, "n_floor": made.counts[-1], "generated": of_made, "floor": of_real}
    return values, curves


def _notes(
    generated: Side, reference: Side, floor: dict[str, Any], error: float | None
) -> list[str]:
    notes = []
    if not floor:
        notes.append("no floor: a half of the reference has a single image")
    elif floor["by"] == "frame":
        notes.append(
            "the reference is one patient or video, so its floor is by frame: frames of one heart "
            "on both sides flatter it, and there is no interval"
        )
    if error is None and (not floor or floor["by"] == "video"):
        notes.append("no interval: one side is a single group, or its features are degenerate")
    groups = min(int(side.groups.max()) + 1 for side in (generated, reference))
    if 1 < groups < FEW_GROUPS:
        notes.append(
            f"one side is of {groups} patients or videos: the interval is too narrow and the "
            f"floor doubtful with fewer than {FEW_GROUPS}"
        )
    n, dims = min(len(generated), len(reference)), reference.features.shape[1]
    if error is not None and n < _FEW_PER_FEATURE * dims:
        notes.append(
            f"its 95 % interval is of the distance at {n} images, which bias raises: with fewer "
            f"than {_FEW_PER_FEATURE * dims} for {dims} features the distance of infinitely many "
            "images lies below it"
        )
    if n <= dims:
        notes.append(
            f"{n} images for {dims} features: the covariance has rank {n - 1} at most, so the "
            f"distance is biased upwards and its value at infinite N is not to be trusted; only "
            f"its order among sets of {n} images counts"
        )
    return notes
