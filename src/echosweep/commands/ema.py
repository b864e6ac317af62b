"""Make the average of a run's weights of any length, after training (Karras et al. 2024).

What training stored in RUN/ema up to a point is added up there; the weights themselves are not
needed again. Invariant: nothing is read that was stored later than the point asked for.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from echosweep import locks, runs
from echosweep.errors import EchoSweepError, UsageError
from echosweep.progress import Progress, silent
from echosweep.training import checkpoint
from echosweep.training.posthoc_ema import (
    LENGTHS,
    LONGEST,
    Mix,
    Profile,
    combine,
    mix,
    stored_tracks,
    stored_without_facts,
    track_path,
)

# Measured: where it is this, the weights are off by a fifth of how far averaging moves them.
_MOST_ERROR = 0.25


def ema(
    run: str | Path,
    length: float,
    out: str | Path,
    *,
    at_kimg: float | None = None,
    progress: Progress = silent,
) -> Path:
    """Write the average of that relative length to `out`, as a model to sample from; return `out`.

    The same call again returns at once.

    Args:
        run: Folder of a run that was trained with `posthoc_ema`.
        length: Standard deviation of the weights' average over training, as a share of the
            training so far, at most 0.25 (sigma_rel of Karras et al. 2024).
        out: NAME.safetensors, with NAME.json beside it. Its "ema" has the length, and the error:
            the distance of the profile that was made from the one wanted, as a share of the latter.
        at_kimg: Average up to this point; None: the last one stored, the end of a finished run.
        progress: Called after each file.

    Raises:
        UsageError: For a run without stored averages, a length or a point that cannot be made, or
            an `out` that is another file.
    """
    run, out = Path(run), Path(out)
    points = _points(run)
    end = _end(points, at_kimg)
    used = [nimg for nimg in points if nimg <= end]
    made = _mix(used, length)
    facts = checkpoint.read_facts(track_path(run, end))
    del facts["sha256"]
    facts["ema"] = {"length": length, "error": round(made.error, 4), "points": len(used)}
    _check_name(out)
    with locks.held(out.with_name(f".{out.name}.lock"), out):
        if _is_made(out, facts):
            runs.note_finished(out)
            return out
        weights = combine(_checked(run, used, progress), made.factors)
        # Weights without their JSON are what a stop left of this very call, or somebody's.
        theirs = out.exists() and out.stat().st_size > 0
        if theirs and runs.sha256_file(out) != checkpoint.digest(weights):
            raise _taken(out)
        checkpoint.save(out.with_suffix(""), weights, facts)
    return out


def _points(run: Path) -> list[int]:
    """Return the images at which the run stored its averages; raise UsageError if at none."""
    try:
        record = runs.read_record(run / "run.json", f"give another run than {run}")
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"there is no run in {run}: give a folder made by `echosweep train --posthoc-ema`"
        ) from None
    if not record.get("config", {}).get("posthoc_ema"):
        raise UsageError(
            f"{run} was trained without --posthoc-ema, so it stored nothing to make averages of; "
            "train with --posthoc-ema into another --out"
        )
    if (run / "model.json").exists() and (half := stored_without_facts(run)):
        raise EchoSweepError(
            f"{half} lacks its JSON, so the run is not whole; copy it again, or remove this file "
            "to do without it"
        )
    if points := stored_tracks(run):
        return points
    raise UsageError(f"{run} has stored no averages yet; run its `echosweep train` again")


def _end(points: Sequence[int], at_kimg: float | None) -> int:
    """Return the point that is meant; raise UsageError with the nearest if it is not there."""
    if at_kimg is None:
        return points[-1]
    nearest = min(points, key=lambda nimg: abs(nimg - at_kimg * 1000))
    if abs(nearest - at_kimg * 1000) < 0.5:
        return nearest
    raise UsageError(
        f"at {at_kimg:g} kimg no averages were stored; the nearest are at {nearest / 1000:g} "
        f"(stored: {len(points)}, from {points[0] / 1000:g} to {points[-1] / 1000:g} kimg)"
    )


def _mix(points: Sequence[int], length: float) -> Mix:
    """Return how to make a length at the last point; raise UsageError if that is not possible."""
    if not 0 < length <= LONGEST:
        raise UsageError(
            f"length {length:g} must be more than 0 and at most {LONGEST} (a share of the "
            f"training so far); {LENGTHS[0]} and {LENGTHS[1]} are kept exactly"
        )
    made = mix([Profile(*p) for p in product(points, LENGTHS)], Profile(points[-1], length))
    if made.error > _MOST_ERROR:
        raise UsageError(
            f"length {length:g} cannot be made of what was stored {len(points)} times up to "
            f"{points[-1] / 1000:g} kimg (error {made.error:.2f}, at most {_MOST_ERROR}); choose "
            f"one nearer to {LENGTHS[0]} to {LENGTHS[1]}"
        )
    return made


def _check_name(out: Path) -> None:
    if out.suffix != ".safetensors":
        raise UsageError(f"{out} must end in .safetensors, as in {out}.safetensors")
    runs.check_writable(out)
    runs.check_writable(out.with_suffix(".json"))


def _is_made(out: Path, facts: dict[str, Any]) -> bool:
    """Say whether `out` is this very average; raise UsageError if it is anything else."""
    if not (out.exists() and out.with_suffix(".json").exists()):
        return False
    found = checkpoint.read_facts(out.with_suffix(""))
    alike = {**found, "sha256": None} == {**facts, "sha256": None}
    if alike and runs.sha256_file(out) == found["sha256"]:
        return True
    raise _taken(out)


def _taken(out: Path) -> UsageError:
    return UsageError(f"{out} holds other weights already; remove it, or choose another --out")


def _checked(run: Path, points: Sequence[int], progress: Progress) -> Iterator[Path]:
    """Yield the weights file of each point, checked against its SHA-256."""
    for number, nimg in enumerate(points):
        path = track_path(run, nimg)
        file, facts = path.with_suffix(".safetensors"), checkpoint.read_facts(path)
        if not file.is_file() or runs.sha256_file(file) != facts["sha256"]:
            raise EchoSweepError(
                f"{file} is missing or was changed (its SHA-256 is not that in {path.name}.json); "
                f"copy it again, or remove {path.name}.json and {file.name} to do without them"
            )
        yield file
        progress(number + 1, len(points))
