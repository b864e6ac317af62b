"""Measure the optimal FID of a store: real images against other real images of it.

Splits are by frame, as in the paper, and by video (or patient), which is the one to compare a
generator with: frames of one heart on both sides flatter every number.
"""

from pathlib import Path
from typing import Any

from echosweep import runs
from echosweep.build import build_extractors
from echosweep.commands.evaluate import with_features
from echosweep.config import FeatureConfig, FloorOptions
from echosweep.data.provenance import check_real
from echosweep.data.store import FrameStore
from echosweep.distributed import world
from echosweep.environment import environment
from echosweep.evaluation.floor import floor_curve, largest_half
from echosweep.evaluation.sets import Side
from echosweep.progress import Show, hidden
from echosweep.reporting import figures
from echosweep.streams import console, table


def floor(
    store: str | Path,
    *,
    config: FeatureConfig | None = None,
    show: Show = hidden,
    **options: Any,
) -> dict[str, Any] | None:
    """Return the distance between halves of real images: what no generator can beat.

    The record is JSON: floors by extractor and kind of split, each with mean and std at `n` images
    a half, counts, values and the line infinity + slope / N. Under `torchrun` only the first
    process returns it.

    Args:
        store: Frame store of real images.
        config: A FloorOptions, or the FeatureConfig to measure by.
        show: Makes progress bars.
        options: Fields of FloorOptions (by, num, repeats, features, ...), on top of `config`.

    Raises:
        UsageError: For what cannot be split so.
    """
    wanted = FloorOptions.merge(config, options)
    seed, repeats = wanted.seed, wanted.repeats
    if wanted.plot:
        runs.check_writable(wanted.plot, runs.PNG)
    with world(wanted.device) as peers:
        extractors = build_extractors(wanted, wanted.device)
        opened = FrameStore.open(store)
        check_real(opened, "the optimal distance")
        side = Side(opened, opened.rows(wanted.split))
        n = min(largest_half(side, kind, wanted.num, repeats, seed) for kind in wanted.by)
        cache = runs.cache_folder(wanted.cache)
        sides = {e.label: with_features(side, e, cache, peers, show) for e in extractors}
    if peers.rank > 0:
        return None
    floors: dict[str, dict[str, Any]] = {}
    for extractor in extractors:
        label = extractor.label
        floors[label] = {"metric": extractor.metric, "by": {}}
        for kind in wanted.by:
            with show(f"floor by {kind} ({label})", "splits") as progress:
                curve = floor_curve(sides[label], kind, n, repeats, seed, progress)
            floors[label]["by"][kind] = curve.record()
    if wanted.plot:
        figures.save(figures.plot_floors(floors), wanted.plot)
    return {
        "floors": floors,
        "n": n,
        "repeats": repeats,
        "features": {extractor.label: extractor.describe() for extractor in extractors},
        "warnings": [note for e in extractors for note in (*e.notes, *_few(n, e.label, e.dims))],
        "provenance": {
            "store": side.describe(),
            "split": wanted.split,
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
