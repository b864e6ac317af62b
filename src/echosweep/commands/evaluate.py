"""Measure generated images against real ones: two frame stores in, one record and a page out.

The order is (generated, reference) everywhere. Everything cheap that can be wrong is checked
before the first image is read. Invariant: the record holds all that the numbers depend on:
contents, rows, preparation, networks, weights, resize and environment.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from echosweep import locks, runs
from echosweep.build import build_extractors
from echosweep.config import EvaluateOptions, FeatureConfig
from echosweep.data.provenance import Knowledge, Seen, check_order, count_seen, pair_notes
from echosweep.data.store import FrameStore, check_comparable
from echosweep.distributed import World, world
from echosweep.environment import environment
from echosweep.evaluation import METRICS
from echosweep.evaluation.feature_cache import cached_features
from echosweep.evaluation.features import Extractor
from echosweep.evaluation.neighbours import nearest
from echosweep.evaluation.sets import Result, Side, Subset, draw_rows
from echosweep.progress import Show, hidden
from echosweep.reporting.evaluation_page import EvaluationPictures, write_report

_SHOWN, _SEARCHED, _PAIRS = 48, 2000, 8


class Pair(NamedTuple):
    """What is compared, in the order of every metric."""

    generated: Side
    reference: Side


def evaluate(
    generated: str | Path,
    reference: str | Path,
    *,
    config: FeatureConfig | None = None,
    show: Show = hidden,
    **options: Any,
) -> dict[str, Any] | None:
    """Return how far `generated` is from `reference`, by each metric, and where that came from.

    The record is JSON: metrics, intervals (95 %) and details by extractor ("images" for metrics
    of images themselves), features, n_generated, n_reference, seen (how many videos of the split
    the model knows), provenance, warnings. Under `torchrun` processes share the features, and only
    the first returns the record.

    Args:
        generated: Frame store of generated images.
        reference: Frame store of real images.
        config: An EvaluateOptions, or the FeatureConfig to measure by.
        show: Makes progress bars.
        options: Fields of EvaluateOptions (metrics, num, split, features, out, ...), on top of
            `config`.

    Raises:
        UsageError: For what was asked for wrongly, before any feature is computed.
        EchoSweepError: For damaged data, before any feature is computed.
    """
    wanted = EvaluateOptions.merge(config, options)
    chosen, num, split, seed = wanted.metrics, wanted.num, wanted.split, wanted.seed
    by_features = any(METRICS[name].of != "images" for name in chosen)
    with contextlib.ExitStack() as stack:
        with world(wanted.device) as peers:
            extractors = build_extractors(wanted, wanted.device) if by_features else []
            made, real = FrameStore.open(generated), FrameStore.open(reference)
            check_order(made, real)
            check_comparable(made, real, wanted.allow_difference)
            pair = _pair(made, real, num, split, seed, any(METRICS[n].of == "pool" for n in chosen))
            for name in chosen:
                METRICS[name].check(*pair)
            cache = runs.cache_folder(wanted.cache) if by_features else Path()
            folder = wanted.out or (_beside(made) if chosen == tuple(METRICS) else None)
            if folder:
                runs.check_record(folder / "evaluation.json")
                runs.check_writable(folder / "evaluation.html", runs.PAGE)
                if peers.rank == 0:
                    stack.enter_context(locks.locked(folder))
            measured = {
                by.label: Pair(*(with_features(side, by, cache, peers, show) for side in pair))
                for by in extractors
            }
        if peers.rank > 0:
            return None
        results = _measure(chosen, pair, measured, seed, show)
        record = _record(results, pair, extractors, {"split": split, "seed": seed})
        if folder:
            write_report(folder, record, _pictures(pair, measured))
        return record


def _beside(store: FrameStore) -> Path:
    return store.path.with_name(store.path.name + ".evaluation")


def _pair(
    made: FrameStore, real: FrameStore, num: int | None, split: str | None, seed: int, pools: bool
) -> Pair:
    """Return the sides, without features yet; with the images they were drawn from, if `pools`."""

    def side(store: FrameStore, split: str | None, seed: int | None) -> Side:
        pool = Side(store, store.rows(split)) if pools else None
        return Side(store, draw_rows(store, num, split, seed), pool=pool)

    return Pair(side(made, None, None), side(real, split, seed))


def with_features(side: Side, extractor: Extractor, cache: Path, peers: World, show: Show) -> Side:
    """Return the side with its features, and those of its pool, where it has one."""
    whole = side.pool or side
    with show(f"{extractor.label} of {side.store.path.name}", "images") as progress:
        features = cached_features(side.store, whole.rows, extractor, cache, peers, progress)
    if side.pool is None:
        return replace(side, features=features)
    drawn = Subset(features, np.searchsorted(whole.rows, side.rows))
    return replace(side, features=drawn, pool=replace(side.pool, features=features))


def _measure(
    chosen: Sequence[str], plain: Pair, measured: dict[str, Pair], seed: int, show: Show
) -> Iterator[tuple[str, str, Result]]:
    """Yield (label, metric, what it found): each metric of features for each extractor."""
    for name in chosen:
        metric = METRICS[name]
        pairs = {"images": plain} if metric.of == "images" else measured
        for label, pair in pairs.items():
            with show(f"{name} ({label})", "metrics") as progress:
                progress(0, 1)
                yield label, name, metric.measure(*pair, seed)
                progress(1, 1)


def _record(
    results: Iterator[tuple[str, str, Result]],
    pair: Pair,
    extractors: Sequence[Extractor],
    drawn: dict[str, Any],
) -> dict[str, Any]:
    """Return the record of an evaluation, each distance under its exact name."""
    exact = {extractor.label: extractor.metric for extractor in extractors}
    metrics, intervals, details = (dict[str, Any](), dict[str, Any](), dict[str, Any]())
    warnings = [note for extractor in extractors for note in extractor.notes]
    for label, name, result in results:
        ranges = {key: list(interval) for key, interval in result.intervals.items()}
        for table, found in ((metrics, result.values), (intervals, ranges)):
            named = {_exact_name(key, exact.get(label, "")): v for key, v in found.items()}
            table.setdefault(label, {}).update(named)
        details.setdefault(label, {})[name] = result.details
        warnings += [f"{label} {name}: {note}" for note in result.notes]
    generated, reference = pair
    real = reference.store
    seen = count_seen(Knowledge.of_store(generated.store), real, real.rows(drawn["split"]))
    return {
        "metrics": metrics,
        "intervals": intervals,
        "n_generated": len(generated),
        "n_reference": len(reference),
        "features": {extractor.label: extractor.describe() for extractor in extractors},
        "seen": seen._asdict(),
        "warnings": [*warnings, *_warnings(pair, seen)],
        "provenance": {
            "generated": generated.describe(),
            "reference": reference.describe() | drawn,
            "environment": environment(),
        },
        "details": details,
    }


def _exact_name(name: str, exact: str) -> str:
    """Return fd_floor as fid_floor, fid768_floor, rfd_floor: by what the features are."""
    return exact + name[2:] if name == "fd" or name.startswith("fd_") else name


def _warnings(pair: Pair, seen: Seen) -> Iterator[str]:
    made, real = pair.generated.store, pair.reference.store
    if len(pair.generated) != len(pair.reference):
        yield (
            f"the sets differ in size ({len(pair.generated)} and {len(pair.reference)}); the bias "
            "of a distance depends on both"
        )
    if made.content == real.content:
        yield "both stores hold the same images"
    flat, repeated = pair.generated.repeated()
    if flat:
        yield f"{flat} of {len(pair.generated)} generated images are constant: one grey level alone"
    if repeated:
        yield f"{repeated} of {len(pair.generated)} generated images are equal to another one"
    yield from pair_notes(made, real)
    yield from seen.warnings()


def _pictures(pair: Pair, measured: dict[str, Pair]) -> EvaluationPictures:
    """Return what the page shows: images of both sides, and the pairs nearest by features."""
    made, real = (
        side.images(np.unique(np.linspace(0, len(side) - 1, _SHOWN).astype(int))) for side in pair
    )
    if not measured:
        return EvaluationPictures(made, real)
    by = next(iter(measured.values()))
    distances, rows = nearest(by.generated.features[:_SEARCHED], by.reference.features)
    closest = np.argsort(distances[:, 0], kind="stable")[:_PAIRS]
    return EvaluationPictures(
        made, real, pair.generated.images(closest), pair.reference.images(rows[closest, 0])
    )
