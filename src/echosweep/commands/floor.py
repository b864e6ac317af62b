"""Measure the optimal FID of a store: real images against other real images of it.

Splits are by frame, as in the paper, and by video (or patient), which is the one to compare a
generator with: frames of one heart on both sides flatter every number.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from echosweep import runs
from echosweep.build import build_extractors
from echosweep.commands.evaluate import with_features
from echosweep.config import FeatureConfig, check_choice
from echosweep.data.provenance import check_real
from echosweep.data.store import FrameStore
from echosweep.distributed import world
from echosweep.environment import environment
from echosweep.errors import UsageError
from echosweep.evaluation.floor import floor_curve, largest_half
from echosweep.evaluation.sets import Side
from echosweep.progress import Show, hidden
from echosweep.reporting import figures
from echosweep.streams import console, table

SPLITS = ("frame", "video")


def floor(
    store: str | Path,
    *,
    by: Sequence[str] = SPLITS,
    num: int | None = None,
    splits: int = 5,
    split: str | None = None,
    seed: int = 0,
    plot: str | Path | None = None,
    config: FeatureConfig | None = None,
    show: Show = hidden,
    **settings: Any,
) -> dict[str, Any] | None:
    """Return the distance between halves of real images: what no generator can beat.

    by: "frame", "video" or both. num: images in each half; None for as many as every split has.
    splits: how often the halves are drawn. split: of the store (train, val, test). plot: a PNG of
    the distance against N, with the fitted lines. settings: fields of FeatureConfig.

    The record is JSON: floors by extractor and kind of split, each with mean and std at `n` images
    a half, counts, values and the line infinity + slope / N. Under `torchrun` only the first
    process returns it. Raises UsageError for what cannot be split so.
    """
    config = FeatureConfig.merge(config, settings)
    for kind in by:
        check_choice("by", kind, SPLITS)
    if splits < 1 or seed < 0 or (num is not None and num < 2):
        raise UsageError(f"splits {splits} must be 1 or more, seed {seed} 0, num {num} 2 or more")
    if plot:
        runs.check_writable(Path(plot), runs.PNG)
    with world(config.device) as peers:
        extractors = build_extractors(config)
        opened = FrameStore.open(store)
        check_real(opened, "the optimal distance")
        side = Side(opened, opened.rows(split))
        n = min(largest_half(side, kind, num, splits, seed) for kind in by)
        cache = runs.cache_folder(config.cache)
        sides = {e.label: with_features(side, e, cache, peers, show) for e in extractors}
    if peers.rank > 0:
        return None
    floors: dict[str, dict[str, Any]] = {}
    for extractor in extractors:
        label = extractor.label
        floors[label] = {"metric": extractor.metric, "by": {}}
        for kind in by:
            with show(f"floor by {kind} ({label})", "splits") as progress:
                curve = floor_curve(sides[label], kind, n, splits, seed, progress)
            floors[label]["by"][kind] = curve.record()
    if plot:
        figures.save(figures.plot_floors(floors), Path(plot))
    return {
        "floors": floors,
        "n": n,
        "splits": splits,
        "features": {extractor.label: extractor.describe() for extractor in extractors},
        "warnings": [note for e in extractors for note in (*e.notes, *_few(n, e.label, e.dims))],
        "provenance": {
            "store": side.describe(),
            "split": split,
            "seed": seed,
            "environment": environment(),
        },
    }


def _few(n: int, label: str, dims: int) -> list[str]:
    if n > dims:
        return []
    return [
        f"{label}: halves of {n} images for {dims} features: the covariance has rank {n - 1} at "
        "most, so the distance is biased upwards and its value at infinite N is not to be trusted"
    ]


def print_table(record: dict[str, Any]) -> None:
    """Print the floors to stderr as a table."""
    title = f"optimal distance, {record['n']:,} real images against as many"
    rows = table("distance", "split by", "mean", "std", "at infinite N", title=title)
    for floor in record["floors"].values():
        for kind, curve in floor["by"].items():
            numbers = (curve["mean"], curve["std"], curve["infinity"])
            rows.add_row(floor["metric"], kind, *(f"{number:.4g}" for number in numbers))
    console(stderr=True).print(rows)
